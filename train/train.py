"""Train the small DeepSeek-V3.2-class model in the stages of the DSA recipe.

    pre     dense attention, short rows, plain text and conversations
    long    dense attention, long rows with YaRN, more conversations   -> DIR/dense
    warmup  everything frozen but the indexer (KL to full attention)
    sparse  top-k attention, indexer by KL on the selected set          -> DIR/sparse

Stages are bounded by wall-clock seconds; the learning rate follows the share
of the stage's seconds spent. `--limit` ends a call early; the next call with
the same --dir continues (same machine: full state; else: the exported bf16
checkpoint with fresh optimizer moments).
"""

import argparse
import copy
import json
import math
import os
import shutil
import sys
import time

import torch

import checkpoint
import data
import model as M
from losses import balance, step_loss
from optimizer import Optimizer
from presets import PRESETS

HERE = os.path.dirname(os.path.abspath(__file__))


class Run:
    def __init__(self, a):
        self.a, self.p = a, copy.deepcopy(PRESETS[a.preset])
        self.dev = torch.device(a.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.start = time.time()
        os.makedirs(a.dir, exist_ok=True)
        self.logf = open(os.path.join(a.dir, "log.jsonl"), "a")
        scale = a.minutes * 60 / sum(s["seconds"] for s in self.p["stages"]) if a.minutes else 1.0
        for s in self.p["stages"]:
            s["seconds"] *= scale
        self.prog = {"stage": 0, "spent": 0.0, "steps": 0, "tokens": 0, "seed": a.seed}
        self.opt_state = None
        torch.manual_seed(a.seed)
        if self.dev.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        state = os.path.join(a.dir, "state.pt")
        self.net = M.Model(M.Config(**self.p["model"])).to(self.dev)
        if os.path.exists(state):
            s = torch.load(state, map_location="cpu", weights_only=True)
            self.net.load_state_dict(s["model"])
            self.prog, self.opt_state = s["progress"], s["opt"]
        elif a.init:
            self.net = checkpoint.load_hf(a.init).to(self.dev)
            self.net.c.original_max_position_embeddings = M.Config(**self.p["model"]).original_max_position_embeddings
            progress = os.path.join(a.init, "progress.json")
            if not os.path.exists(progress):
                sys.exit(f"{a.init} has no progress.json, so the stage to continue with is unknown: use a folder written by --export or found in --dir")
            with open(progress) as f:
                self.prog = json.load(f)
        moe = a.moe or ("auto" if self.dev.type == "cuda" else "loop")
        M.MoE.impl = self.pick_moe() if moe == "auto" else moe
        if a.compile:
            for b in self.net.layers:
                b.compile(dynamic=False)
        n = sum(p.numel() for p in self.net.parameters())
        self.say({"event": "start", "preset": a.preset, "params": n, "device": str(self.dev), "moe": M.MoE.impl, "torch": torch.__version__, **self.prog})

    def say(self, d):
        d = {k: (round(v, 5) if isinstance(v, float) else v) for k, v in d.items()}
        print(json.dumps(d), flush=True)
        self.logf.write(json.dumps(d) + "\n")
        self.logf.flush()

    def amp(self):
        return torch.autocast(self.dev.type, dtype=torch.bfloat16, enabled=not self.a.fp32)

    def pick_moe(self):
        """Time the MoE implementations on this device; a wrong or failing one is left out."""
        moe = next(m for m in self.net.modules() if isinstance(m, M.MoE))
        x = torch.randn(1, 32768, self.net.c.hidden_size, device=self.dev)
        best, ref = None, None
        for impl in ("loop", "all", "grouped"):
            M.MoE.impl = impl
            try:
                with self.amp():
                    for i in range(4):
                        if i == 1:
                            torch.cuda.synchronize() if self.dev.type == "cuda" else None
                            t = time.time()
                        xx = x.clone().requires_grad_()
                        y, _ = moe(xx)
                        y.float().square().mean().backward()
                    torch.cuda.synchronize() if self.dev.type == "cuda" else None
                    t = (time.time() - t) / 3
                y = y.detach().float()
                ref = y if ref is None else ref
                err = float((y - ref).abs().mean() / ref.abs().mean())
                self.say({"event": "moe", "impl": impl, "ms": t * 1e3, "err": err})
                if err < 0.03 and (best is None or t < best[0]):
                    best = (t, impl)
            except Exception as e:  # an implementation this device or version lacks
                self.say({"event": "moe", "impl": impl, "error": str(e)[:200]})
            moe.zero_grad(set_to_none=True)
            moe.load.zero_()
        return best[1]

    def bench(self, seconds=5):
        """Tokens per second of the first stage, of the long rows and of the sparse stage, on random tokens."""
        net, opt = self.net, Optimizer(self.net.named_parameters())
        for st in self.p["stages"]:
            for length, _ in st["rows"]:
                net.mode, net.chunk = st["mode"], self.p["chunk"]
                rows = max(1, st["micro"] // length)
                ids = torch.randint(3, net.c.vocab_size, (rows, length + 2), device=self.dev)
                ws = torch.ones(ids.shape, device=self.dev)
                n, t = 0, None
                while t is None or time.time() - t < seconds:
                    with self.amp():
                        loss, _ = step_loss(net, ids, ws, st["mode"], 0.3)
                    loss.backward()
                    opt.step(1e-6)
                    net.zero_grad(set_to_none=True)
                    if self.dev.type == "cuda":
                        torch.cuda.synchronize()
                    t, n = (time.time(), 0) if t is None else (t, n + 1)
                mem = torch.cuda.max_memory_allocated() / 2 ** 30 if self.dev.type == "cuda" else 0.0
                self.say({"event": "bench", "stage": st["name"], "row": length, "rows": rows, "tok/s": int(n * rows * length / (time.time() - t)), "GiB": mem})

    def checkpoint(self, name, full=True):
        path = os.path.join(self.a.dir, name)
        checkpoint.save_hf(self.net, path)
        with open(os.path.join(path, "progress.json"), "w") as f:
            json.dump(self.prog, f)
        if full:
            tmp = os.path.join(self.a.dir, "state.tmp")
            torch.save({"model": self.net.state_dict(), "opt": {"t": self.opt.t, "state": self.opt.state} if self.opt else None, "progress": self.prog}, tmp)
            os.replace(tmp, os.path.join(self.a.dir, "state.pt"))
        if self.a.export:
            os.makedirs(self.a.export, exist_ok=True)
            for f in os.listdir(self.a.export):
                if f.endswith(".safetensors"):
                    os.remove(os.path.join(self.a.export, f))
            for f in os.listdir(path):
                shutil.copy(os.path.join(path, f), self.a.export)
            shutil.copy(os.path.join(self.a.dir, "log.jsonl"), os.path.join(self.a.export, "log.jsonl"))

    def run(self):
        while self.prog["stage"] < len(self.p["stages"]):
            if self.a.until and self.p["stages"][self.prog["stage"]]["name"] == self.a.until:
                break
            if not self.stage(self.p["stages"][self.prog["stage"]]):
                return
        self.say({"event": "done", **self.prog})

    def out_of_time(self):
        return self.a.limit and time.time() - self.start > self.a.limit

    def stage(self, st):
        """One stage; False if the call's time limit ended it early."""
        net, a, dev, prog = self.net, self.a, self.dev, self.prog
        long_stage = st["name"] != "pre"
        if long_stage:
            net.set_context(self.p["yarn"], self.p["max_len"])
        net.mode, net.chunk = st["mode"], self.p["chunk"]
        if st["mode"] != "dense":  # the chunked attention is left to eager mode
            for b in net.layers:
                b._compiled_call_impl = None
        for n, p in net.named_parameters():
            p.requires_grad_("indexer" in n if st["mode"] == "warmup" else (st["mode"] == "sparse" or "indexer" not in n))
        self.opt = Optimizer(net.named_parameters())
        base = prog["spent"]
        if self.opt_state and base > 0:
            self.opt.t = self.opt_state["t"]
            names = {n for n, _ in self.opt.named}
            self.opt.state = {n: {k: v.to(dev) for k, v in s.items()} for n, s in self.opt_state["state"].items() if n in names}
        self.opt_state = None
        mix = {"pre": data.MIX_PRE, "sft": data.MIX_SFT, "small": data.MIX_SMALL}[st["mix"]]
        workers = self.p["workers"] if a.workers < 0 else a.workers
        seed = prog["seed"] + 1000 * prog["stage"] + prog["steps"] + 1
        loaders, shares = [], []
        for i, (length, share) in enumerate(st["rows"]):
            long_chars = (st["long_chars"][0], min(st["long_chars"][1], int(length * 2.6)) if i == 0 else length * 2.6)
            rows = max(1, st["micro"] // length)
            loaders.append(data.Loader(a.tokenizer, a.corpus, mix, seed + 7 * i, long_chars, length, rows, max(1, round(workers * share)) if workers else 0))
            shares.append(share)
        gen = torch.Generator().manual_seed(seed)
        net.train()
        acc, last, since, tok0, begun = {}, time.time(), 0, prog["tokens"], None
        saved, ok = time.time(), True
        while True:
            frac = min(1.0, prog["spent"] / st["seconds"])
            if frac >= 1.0 or (a.max_steps and since >= a.max_steps):
                break
            if self.out_of_time():
                ok = False
                break
            k = int(torch.multinomial(torch.tensor(shares), 1, generator=gen))
            grads = max(1, st["tokens"] // st["micro"])
            for _ in range(grads):
                ids, ws = loaders[k].next()
                begun = begun or time.time() - 1e-3  # time starts with the first batch
                ids, ws = torch.from_numpy(ids).long().to(dev, non_blocking=True), torch.from_numpy(ws).to(dev, non_blocking=True)
                with self.amp():
                    loss, log = step_loss(net, ids, ws, st["mode"], 0.0 if a.no_mtp else 0.3 if st["name"] == "pre" else 0.15,
                                          self.p.get("thin", 0.0), self.p.get("mtp_share", 1.0))
                (loss / grads).backward()
                prog["tokens"] += ids.shape[0] * (ids.shape[1] - 2)
                for n, v in log.items():
                    acc.setdefault(n, []).append(v)
            norm = torch.nn.utils.clip_grad_norm_([p for n, p in self.opt.named if "indexer" not in n or st["mode"] == "warmup"], 1.0)
            if st["mode"] == "sparse":  # the KL must not scale the gradient of the language model
                torch.nn.utils.clip_grad_norm_([p for n, p in self.opt.named if "indexer" in n], 1.0)
            warm = min(1.0, (since + 1) / st["warm"]) if base == 0 else min(1.0, (since + 1) / 5)
            lr = st["lr"] * warm * (st["end"] + (1 - st["end"]) * 0.5 * (1 + math.cos(math.pi * frac)))
            self.opt.step(lr, lr * st.get("index_lr", 1.0))
            net.zero_grad(set_to_none=True)
            if st["mode"] != "warmup":
                acc.setdefault("imbalance", []).append(balance(net, self.p["bias"] * lr / st["lr"]))
            since += 1
            prog["steps"] += 1
            prog["spent"] = base + time.time() - begun
            if since % a.every == 0 or since == 1:
                now = time.time()
                self.say({"stage": st["name"], "step": prog["steps"], "frac": frac, "lr": lr, "norm": float(norm), **{n: float(torch.stack(v).float().mean()) for n, v in acc.items()},
                          "tok/s": int((prog["tokens"] - tok0) / max(now - last, 1e-6)), "tokens": prog["tokens"], "clock": now - self.start})
                acc, last, tok0 = {}, now, prog["tokens"]
            if time.time() - saved > a.save_every:
                self.checkpoint("last")
                saved = time.time()
        for l in loaders:
            l.close()
        if ok:
            prog["stage"] += 1
            prog["spent"] = 0.0
            self.checkpoint({"long": "dense", "sparse": "sparse"}.get(st["name"], "last"))
        else:
            self.checkpoint("last")
        self.say({"event": "stage end" if ok else "paused", "name": st["name"], **prog})
        return ok


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--preset", choices=PRESETS, default="gpu")
    ap.add_argument("--dir", required=True, help="state, checkpoints and log")
    ap.add_argument("--export", default="", help="folder which always holds the newest checkpoint, in shards of less than 16 MiB")
    ap.add_argument("--init", default="", help="exported checkpoint to continue from when --dir holds no state")
    ap.add_argument("--corpus", default=os.path.join(HERE, "corpus"))
    ap.add_argument("--tokenizer", default=os.path.join(HERE, "..", "models", "fixture", "tokenizer.json"))
    ap.add_argument("--minutes", type=float, default=0, help="scale all stages to this total")
    ap.add_argument("--limit", type=float, default=0, help="end this call after so many seconds")
    ap.add_argument("--until", default="", help="stop before this stage")
    ap.add_argument("--max-steps", type=int, default=0)
    ap.add_argument("--every", type=int, default=20)
    ap.add_argument("--save-every", type=float, default=150)
    ap.add_argument("--device", default="")
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--workers", type=int, default=-1)
    ap.add_argument("--moe", default="", help="loop, all, grouped or auto (default: auto on a GPU, loop elsewhere)")
    ap.add_argument("--compile", action="store_true", help="torch.compile the decoder layers")
    ap.add_argument("--bench", action="store_true", help="only measure tokens per second")
    ap.add_argument("--no-mtp", action="store_true", help="skip the multi-token-prediction loss")
    ap.add_argument("--fp32", action="store_true")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    run = Run(a)
    run.bench() if a.bench else run.run()


if __name__ == "__main__":
    main()
