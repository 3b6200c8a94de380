"""Fine-tuning of the source with LoRA, before the conversion.

    python finetune.py train work/adapter.safetensors --tokens 1000000 [--init A.safetensors]   # resumable: the same command goes on; a file work/adapter.safetensors.stop ends it
    python finetune.py eval [work/adapter.safetensors]                                          # held-out losses by kind, and of text

Two processes of one thread each, gradients summed: on a shared machine every barrier of one process with two threads waits for the thread that lost its core."""

import argparse
import datetime
import json
import math
import os
import time

import torch
import torch.nn.functional as F

import adapter
import mix
import source
from rounding import FORMATS



def loss_of(m, batch, detail=None):
    """Mean loss over the trained tokens of documents laid end to end. `detail` collects sums by kind: cross-entropy, objective, tokens."""
    at, sel, target, ce = 0, [], [], []
    tids, tlen, tsel, rows = [], [], [], []
    for e in batch:
        if e["teacher"]:
            ids, pos = e["teacher"]
            tsel += [len(tids) + p - 1 for p in pos]
            tids += ids
            tlen.append(len(ids))
            rows += range(len(sel), len(sel) + len(e["pos"]))
        sel += [at + p - 1 for p in e["pos"]]
        target += [e["ids"][p] for p in e["pos"]]
        ce += e["ce"]
        at += len(e["ids"])
    z = m.logits(m.hidden([i for e in batch for i in e["ids"]], [len(e["ids"]) for e in batch])[torch.tensor(sel)])
    nll = F.cross_entropy(z, torch.tensor(target), reduction="none")
    ce = torch.tensor(ce)
    total = nll * ce
    if rows:
        with torch.no_grad():
            y = m.logits(m.hidden(tids, tlen, False)[torch.tensor(tsel)], False).log_softmax(-1)
        rows = torch.tensor(rows)
        kl = (y.exp() * (y - z[rows].log_softmax(-1))).sum(-1)
        total = total.index_add(0, rows, kl * (1 - ce[rows]))
    if detail is not None:
        i = 0
        for e in batch:
            n = len(e["pos"])
            d = detail.setdefault(e["kind"], [0.0, 0.0, 0])
            d[0] += float(nll[i: i + n].detach().sum())
            d[1] += float(total[i: i + n].detach().sum())
            d[2] += n
            i += n
    return total.mean()


def worker(rank, a):
    import torch.distributed as dist
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{os.path.abspath(a.out)}.rendezvous", rank=rank, world_size=a.workers, timeout=datetime.timedelta(days=2))  # a stopped process is not a dead one
    m = adapter.Model(a.rank)
    m.start(a.soft)
    if a.init:
        m.load(a.init)
    if a.grid:
        m.train_grids(a.grid)
    ps, g = m.parameters(), len(m.grids)
    peaks = [(ps[g:-2], a.lr), (ps[-2:], 2 * a.lr)] + ([(ps[:g], a.grid_lr)] if g else [])
    opt = torch.optim.Adam([{"params": p, "peak": lr} for p, lr in peaks], lr=0, betas=(0.9, 0.95), eps=1e-8)
    step = tokens = 0
    if os.path.exists(a.out + ".state"):
        x = torch.load(a.out + ".state")
        with torch.no_grad():
            for p, q in zip(ps, x["parameters"]):
                p.copy_(q)
        opt.load_state_dict(x["optimizer"])
        for g, (_, lr) in zip(opt.param_groups, peaks):  # the rate is the command's
            g["peak"] = lr
        step, tokens = x["step"], x["tokens"]
    d = mix.Data(source.tokenizer(), (a.seed * 1000 + rank) * 100003 + step, teacher=a.teacher, forbidden=a.forbid)
    began, at_start, detail, logged, saved = time.time(), tokens, {}, time.time(), time.time()
    stop = False
    done = 0.0
    while tokens < a.tokens and done < 1 and not stop:
        b = d.batch(a.batch)
        if a.round:
            m.round(a.round)
        loss_of(m, b, detail).backward()
        flat = torch.cat([p.grad.flatten() for p in ps] + [torch.tensor([float(sum(len(e["ids"]) for e in b)), float(os.path.exists(a.out + ".stop"))])])
        dist.all_reduce(flat)
        tokens, stop = tokens + int(flat[-2]), bool(flat[-1])
        flat = flat[:-2] / a.workers
        norm = float(flat.norm())
        flat *= min(1.0, 1.0 / (norm + 1e-6))
        for p, g in zip(ps, flat.split([p.numel() for p in ps])):
            p.grad.copy_(g.view_as(p))
        spent = torch.tensor((time.time() - began) / 60 / a.minutes)
        dist.broadcast(spent, 0)
        done = min(1.0, max(tokens / a.tokens, float(spent)))
        for g in opt.param_groups:
            g["lr"] = g["peak"] * min(1, (step - a.warm_from + 1) / a.warmup if step >= a.warm_from else 1) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        opt.step()
        opt.zero_grad()
        step += 1
        if rank == 0 and (time.time() - logged > 30 or tokens >= a.tokens or done >= 1 or stop):
            logged = time.time()
            print(json.dumps({"step": step, "min": round((logged - began) / 60, 1), "tokens": tokens, "tok/s": round((tokens - at_start) / (logged - began)), "norm": round(norm, 2), "lr": f"{opt.param_groups[0]['lr']:.2e}",
                              "loss": round(sum(x[1] for x in detail.values()) / sum(x[2] for x in detail.values()), 3), "by kind": {k: round(x[1] / x[2], 3) for k, x in sorted(detail.items())}}), flush=True)
            detail = {}
            if logged - saved > a.save_minutes * 60 or tokens >= a.tokens or done >= 1 or stop:
                saved = logged
                torch.save({"parameters": [p.detach() for p in ps], "optimizer": opt.state_dict(), "step": step, "tokens": tokens}, a.out + ".state.tmp")
                os.replace(a.out + ".state.tmp", a.out + ".state")
                m.save(a.out, step=step, tokens=tokens, **({"round": a.round} if a.round else {}))


def evaluate(a):
    torch.set_num_threads(a.threads)
    m = adapter.Model(a.rank)
    m.start(a.soft)
    if a.adapter:
        m.load(a.adapter)
    if a.round:
        m.round(a.round)
    d = mix.Data(source.tokenizer(), 77, held_out=True)
    detail = {}
    with torch.no_grad():
        for k in d.shares:
            batch = []
            while len(batch) < a.docs:
                e = d.make(k)
                if e and len(e["ids"]) <= 1024 and e["pos"]:
                    batch.append(e)
            for i in range(0, len(batch), 8):
                loss_of(m, batch[i: i + 8], detail)
        nll = []
        for r in source.test_rows()[[3, 15]]:
            z = m.hidden(r, [len(r)])[:-1]
            nll += [F.cross_entropy(m.logits(x), y, reduction="none") for x, y in zip(z.split(512), r[1:].split(512))]
        print(f"held-out text, 2 rows of 2048: {float(torch.cat(nll).mean()):.4f}")
    for k, (n, t, c) in detail.items():
        print(f"{k:14} answer loss {n / c:.3f}  objective {t / c:.3f}  ({c} tokens)")
    print("mean over kinds: answer loss", round(sum(n / c for n, _, c in detail.values()) / len(detail), 4))


def main():
    ap = argparse.ArgumentParser()
    sub = ap.add_subparsers(dest="cmd", required=True)
    t = sub.add_parser("train")
    t.add_argument("out")
    t.add_argument("--tokens", type=int, default=1_000_000)
    t.add_argument("--minutes", type=float, default=math.inf, help="ends, with the learning rate at its least, after this time too")
    t.add_argument("--workers", type=int, default=2)
    t.add_argument("--batch", type=int, default=1024, help="tokens a step and worker")
    t.add_argument("--lr", type=float, default=1e-3)
    t.add_argument("--warmup", type=int, default=10)
    t.add_argument("--warm-from", type=int, default=0)
    t.add_argument("--save-minutes", type=float, default=4)
    t.add_argument("--seed", type=int, default=1)
    t.add_argument("--init", help="go on from this adapter")
    t.add_argument("--grid", help="a folder of quantise.py: its quants stay, scales and offsets are trained in place of the adapter of these matrices")
    t.add_argument("--grid-lr", type=float, default=2e-3, help="in steps of the grid")
    t.add_argument("--forbid", nargs="*", default=[], help="more prompts that the data must not contain, as evaluation/prompts.jsonl")
    e = sub.add_parser("eval")
    e.add_argument("adapter", nargs="?")
    e.add_argument("--docs", type=int, default=16)
    e.add_argument("--threads", type=int, default=1)
    for p in (t, e):
        p.add_argument("--rank", type=int, default=32)
        p.add_argument("--soft", default=source.path("soft.pt"))
        p.add_argument("--teacher")
        p.add_argument("--round", choices=sorted(FORMATS), help="round the sums of weights and adapter in the forward, of the matrices that the conversion takes over as they are")
    a = ap.parse_args()
    if a.cmd == "eval":
        return evaluate(a)
    import torch.multiprocessing as mp
    if os.path.exists(a.out + ".rendezvous"):
        os.remove(a.out + ".rendezvous")
    mp.start_processes(worker, (a,), nprocs=a.workers, start_method="fork")  # forked: the children keep the command line


if __name__ == "__main__":
    main()
