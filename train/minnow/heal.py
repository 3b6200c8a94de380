"""Healing of the rounded model: only the norms' weights are trained (none of them is rounded), by KL to the model before rounding.

    python heal.py ROUNDED TARGET OUT [--tokens 60000]     # checkpoint folders; resumable: the same command goes on

The documents are those of the fine-tuning (mix.py), half of the tokens plain text."""

import argparse
import json
import math
import os
import time

import torch

import convert
import converted
import mix
import source


def batch(d, rows, at, tokens):
    """Documents of about `tokens` tokens, every second batch plain text."""
    if at % 2:
        i = at // 2 % (rows.numel() // 512)
        return [rows.view(-1, 512)[i], rows.view(-1, 512)[(i * 7 + 3) % (rows.numel() // 512)]]
    return [torch.tensor(e["ids"]) for e in d.batch(tokens)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("rounded")
    ap.add_argument("target")
    ap.add_argument("out")
    ap.add_argument("--tokens", type=int, default=60000)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    student, c = converted.load(a.rounded)
    teacher, _ = converted.load(a.target)
    names = [n for n, w in student.items() if w.dim() == 1 and n.endswith("norm.weight") and "indexer" not in n]
    for n in names:
        student[n] = student[n].clone().requires_grad_(True)
    # relative steps: the norms of the latents weigh 414 and not 1
    opt = torch.optim.Adam([{"params": [student[n]], "base": a.lr * float(student[n].detach().abs().mean())} for n in names], lr=0, betas=(0.9, 0.95))
    d, rows = mix.Data(source.tokenizer(), 57), torch.cat((source.rows("wiki", 12, 1024, False), source.rows("books", 12, 1024, False)))
    step = tokens = 0
    state = a.out.rstrip("/") + ".state"
    if os.path.exists(state):
        x = torch.load(state)
        with torch.no_grad():
            for n in names:
                student[n].copy_(x["norms"][n])
        opt.load_state_dict(x["optimizer"])
        step, tokens = x["step"], x["tokens"]
    log, saved = [], time.time()
    while tokens < a.tokens:
        docs = batch(d, rows, step, 1024)
        ids, lengths = torch.cat(docs), [len(x) for x in docs]
        pick = torch.randperm(len(ids))[:512]
        with torch.no_grad():
            y = (converted.forward(teacher, c, ids, lengths=lengths)[pick] @ teacher["lm_head.weight"].t()).log_softmax(-1)
        z = (converted.forward(student, c, ids, lengths=lengths)[pick] @ student["lm_head.weight"].t()).log_softmax(-1)
        loss = (y.exp() * (y - z)).sum(-1).mean()
        loss.backward()
        for g in opt.param_groups:
            g["lr"] = g["base"] * min(1, (step + 1) / 5) * (0.5 + 0.5 * math.cos(math.pi * tokens / a.tokens))
        opt.step()
        opt.zero_grad()
        step, tokens = step + 1, tokens + len(ids)
        log.append(float(loss.detach()))
        if step % 6 == 0:
            print(json.dumps({"step": step, "tokens": tokens, "KL": round(sum(log[-6:]) / 6, 4)}), flush=True)
        if time.time() - saved > 120:
            saved = time.time()
            torch.save({"norms": {n: student[n].detach() for n in names}, "optimizer": opt.state_dict(), "step": step, "tokens": tokens}, state + ".tmp")
            os.replace(state + ".tmp", state)
    convert.write({n: x.detach() for n, x in student.items()}, c, a.out, "f32")


if __name__ == "__main__":
    main()
