"""Fine-tuning of a packed model in its own format: the quants stay, and scales, offsets, norms and rows of the head are trained, so that training ends in the
numbers that are stored.

    python tune.py train PACKED work/tuned.pt --tokens 500000    # resumable: the same command goes on; a file work/tuned.pt.stop ends it
    python tune.py eval PACKED [work/tuned.pt]                   # held-out losses by kind, and of text
    python tune.py write PACKED work/tuned.pt OUT                # OUT: a folder that differs from PACKED in the files of what was trained

Documents, shares and losses are those of finetune.py (mix.py): cross-entropy on answers, KL to the source on text and on its own answers.
The processes take documents from one count until a step has its tokens: one that lost its core to others does less of the step, and nobody waits for it."""

import argparse
import datetime
import json
import math
import os
import time

import torch

import adapter
import mix
import packed
import source
import tuning

STEP = 64  # products of a number of tokens that is a multiple of it are twice as fast


def loss_of(m, src, batch, detail=None):
    """Sum of the losses of the trained tokens of `batch`, and their number. `detail` collects sums by kind: cross-entropy, objective, tokens."""
    ids, lengths, sel, target, ce = [], [], [], [], []
    tids, tlen, tsel = [], [], {}
    for e in batch:
        if e["teacher"]:
            own, pos = e["teacher"]
            tsel |= {len(sel) + i: len(tids) + p - 1 for i, p in enumerate(pos)}
            tids += own
            tlen.append(len(own))
        sel += [len(ids) + p - 1 for p in e["pos"]]
        target += [e["ids"][p] for p in e["pos"]]
        ce += e["ce"]
        ids += e["ids"]
        lengths.append(len(e["ids"]))
    if spare := -len(ids) % STEP:
        ids, lengths = ids + [0] * spare, lengths + [spare]
    if tids:
        with torch.no_grad():
            theirs = src.hidden(tids, tlen, False)

    def teacher(rows):
        y = src.logits(theirs[torch.tensor([tsel[i] for i in rows.tolist()])], False).log_softmax(-1)
        return torch.nn.functional.pad(y, (0, m.head.shape[0] - y.shape[1]), value=-100.0)
    log = []
    z = m.hidden(torch.tensor(ids), lengths)[torch.tensor(sel)]
    loss = tuning.Loss.apply(z, m, torch.tensor(target), torch.tensor(ce), teacher, log)
    if detail is not None:
        nll, total = (torch.cat(x) for x in zip(*log))
        i = 0
        for e in batch:
            n = len(e["pos"])
            d = detail.setdefault(e["kind"], [0.0, 0.0, 0])
            d[0] += float(nll[i: i + n].sum())
            d[1] += float(total[i: i + n].sum())
            d[2] += n
            i += n
    return loss, len(sel)


def save(m, opt, path, **meta):
    state = {"trained": {k: [p.detach() for p in ps] for k, ps in m.groups().items()}, "frozen": m.frozen} | ({"optimizer": opt.state_dict()} if opt else {}) | meta
    torch.save(state, path + ".tmp")
    os.replace(path + ".tmp", path)


def load(m, path):
    """Takes what `save` wrote; returns it."""
    x = torch.load(path)
    if x["frozen"] != m.frozen:
        raise SystemExit(f"{path} was trained with --frozen {x['frozen']}")
    with torch.no_grad():
        for k, ps in m.groups().items():
            for p, q in zip(ps, x["trained"][k]):
                p.copy_(q)
    m.make()
    return x


def worker(rank, a):
    import torch.distributed as dist
    torch.set_num_threads(1)
    store = dist.FileStore(os.path.abspath(a.out) + ".rendezvous", a.workers)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=a.workers, timeout=datetime.timedelta(days=2))  # a stopped process is not a dead one
    m, src = tuning.Model(a.packed, a.frozen), adapter.Model(1, half=True)
    groups = m.groups()
    ps = [p for k in groups for p in groups[k]]
    rates = {"grid": a.lr, "norm": a.norm_lr, "rows": a.rows_lr}
    opt = torch.optim.Adam([{"params": ps, "peak": rates[k]} for k, ps in groups.items()], lr=0, betas=(0.9, 0.95), eps=1e-10)
    step = tokens = 0
    spent = minutes = 0.0
    if os.path.exists(a.out):
        x = load(m, a.out)
        opt.load_state_dict(x["optimizer"])
        for g, k in zip(opt.param_groups, groups):  # the rate is the command's
            g["peak"] = rates[k]
        step, tokens, spent, minutes = x["step"], x["tokens"], x["cpu"], x["minutes"]
    d = mix.Data(source.tokenizer(), (a.seed * 1000 + rank) * 100003 + step, forbidden=a.forbid)
    began, at_start, detail, logged, saved, stop = time.time(), tokens, {}, time.time(), time.time(), False
    for p in ps:
        p.grad = torch.zeros_like(p)
    before, done = minutes, 0.0
    while done < 1 and not stop:
        mine = counted = 0
        cpu = time.process_time()
        while store.add(f"step {step}", a.part) <= a.batch:
            b = d.batch(a.part)
            loss, n = loss_of(m, src, b, detail)
            (loss * n).backward()
            mine, counted = mine + sum(len(e["ids"]) for e in b), counted + n
        flat = torch.cat([p.grad.flatten() for p in ps] + [torch.tensor([float(mine), float(counted), float(os.path.exists(a.out + ".stop")), time.process_time() - cpu])])
        dist.all_reduce(flat)
        more, counted, stop, seconds = flat[-4:].tolist()
        tokens, spent, flat = tokens + int(more), spent + seconds, flat[:-4] / counted
        passed = torch.tensor(before + (time.time() - began) / 60)
        dist.broadcast(passed, 0)
        minutes = float(passed)
        done = max(tokens / a.tokens, minutes / a.minutes)
        norm = float(flat.norm())
        flat *= min(1.0, a.clip / (norm + 1e-6))
        for p, g in zip(ps, flat.split([p.numel() for p in ps])):
            p.grad.copy_(g.view_as(p))
        for g in opt.param_groups:
            g["lr"] = g["peak"] * min(1, (step + 1) / a.warmup, max(0.0, 1 - done) / a.decay + 0.02)
        opt.step()
        opt.zero_grad(set_to_none=False)
        m.make()
        step += 1
        ends = done >= 1 or stop
        if rank == 0 and (time.time() - logged > 60 or ends):
            logged = time.time()
            print(json.dumps({"step": step, "tokens": tokens, "tok/s": round((tokens - at_start) / (logged - began)), "cpu s": round(spent), "norm": round(norm, 3), "lr": f"{opt.param_groups[0]['lr']:.2e}",
                              "loss": round(sum(x[1] for x in detail.values()) / sum(x[2] for x in detail.values()), 3), "by kind": {k: round(x[1] / x[2], 3) for k, x in sorted(detail.items())}}), flush=True)
            detail = {}
            if logged - saved > a.save_minutes * 60 or ends:
                saved = logged
                save(m, opt, a.out, step=step, tokens=tokens, cpu=spent, minutes=minutes)


def evaluate(a):
    torch.set_num_threads(1)
    x = torch.load(a.trained) if a.trained else None
    m, src = tuning.Model(a.packed, x["frozen"] if x else 0), adapter.Model(1, half=True)
    if x:
        load(m, a.trained)
    d, detail = mix.Data(source.tokenizer(), 77, held_out=True), {}
    with torch.no_grad():
        for k in d.shares:
            batch = []
            while len(batch) < a.docs:
                e = d.make(k)
                if e and len(e["ids"]) <= 1024 and e["pos"]:
                    batch.append(e)
            for i in range(0, len(batch), 4):
                loss_of(m, src, batch[i: i + 4], detail)
        log = []
        for r in source.test_rows()[[3, 15]]:
            tuning.Loss.apply(m.hidden(r, [len(r)])[:-1], m, r[1:], torch.ones(len(r) - 1), None, log)
    print(f"held-out text, 2 rows of 2048: {float(torch.cat([x for x, _ in log]).mean()):.4f}")
    for k, (n, t, c) in detail.items():
        print(f"{k:14} answer loss {n / c:.3f}  objective {t / c:.3f}  ({c} tokens)")
    print("mean over kinds: answer loss", round(sum(n / c for n, _, c in detail.values()) / len(detail), 4))


def write(a):
    m = tuning.Model(a.packed, torch.load(a.trained)["frozen"])
    load(m, a.trained)
    packed.replace(a.packed, a.folder, m.changed())


def main():
    ap = argparse.ArgumentParser()
    sub = ap.add_subparsers(dest="cmd", required=True)
    t = sub.add_parser("train")
    e = sub.add_parser("eval")
    w = sub.add_parser("write")
    for p in (t, e, w):
        p.add_argument("packed", help="a folder that `cachalot pack --weights int4` and shards.py wrote")
    t.add_argument("out")
    t.add_argument("--tokens", type=int, default=500_000)
    t.add_argument("--minutes", type=float, default=math.inf, help="ends, with the learning rate at its least, after this time too, of all runs together")
    t.add_argument("--workers", type=int, default=2)
    t.add_argument("--rank", type=int, help="run only this process of --workers; the others are started by commands of their own, after the file OUT.rendezvous of an earlier run is removed")
    t.add_argument("--batch", type=int, default=4096, help="tokens a step")
    t.add_argument("--part", type=int, default=2048, help="tokens that a process takes at a time")
    t.add_argument("--frozen", type=int, default=0, help="first layers that stay as they are")
    t.add_argument("--lr", type=float, default=4e-3, help="in steps of the grid")
    t.add_argument("--norm-lr", type=float, default=1e-3)
    t.add_argument("--rows-lr", type=float, default=1e-4)
    t.add_argument("--clip", type=float, default=1.0)
    t.add_argument("--warmup", type=int, default=10)
    t.add_argument("--decay", type=float, default=0.25, help="the last part of the training, in which the rate falls")
    t.add_argument("--save-minutes", type=float, default=4)
    t.add_argument("--seed", type=int, default=1)
    t.add_argument("--forbid", nargs="*", default=[], help="more prompts that the data must not contain, as evaluation/prompts.jsonl")
    e.add_argument("trained", nargs="?")
    e.add_argument("--docs", type=int, default=8)
    w.add_argument("trained")
    w.add_argument("folder")
    a = ap.parse_args()
    if a.cmd != "train":
        return {"eval": evaluate, "write": write}[a.cmd](a)
    import torch.multiprocessing as mp
    if a.rank is not None:
        return worker(a.rank, a)
    if os.path.exists(a.out + ".rendezvous"):
        os.remove(a.out + ".rendezvous")
    mp.start_processes(worker, (a,), nprocs=a.workers, start_method="fork")  # forked: the children keep the command line


if __name__ == "__main__":
    main()
