"""DeepSeek's control tokens as soft prompts: only the input embeddings of four renamed tokens are trained (2,304 numbers), so that the source behind
`<BOS><User>question<Assistant></think>` answers as it does behind its own format. KL to its own next-token distribution on the answer tokens.

    python control.py [--steps 60]     # -> work/soft.pt, four minutes"""

import argparse
import random
import time

import torch

import adapter
import source
from source import END, chatml, part

BOS, USER, ASSISTANT, UNTHINK = 0, 3, 4, 6
NAMES = [BOS, USER, ASSISTANT, UNTHINK]


def examples(tok):
    """(question, question ids, answer ids) of the short instructions."""
    out = []
    for r in part("instructions"):
        if r.get("a"):
            q = r["q"] + ("\n" + r["in"] if r.get("in") else "")
            a = tok.encode(r["a"]).ids
            if len(tok.encode(q).ids) < 60 and 3 < len(a) < 60:
                out.append((q, tok.encode(q).ids, a))
    random.Random(1).shuffle(out)
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--steps", type=int, default=60)
    ap.add_argument("--batch", type=int, default=6)
    ap.add_argument("--lr", type=float, default=0.1)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, tok = adapter.Model(1), source.tokenizer(False)
    for p in m.lora.values():
        p.requires_grad_(False)
    m.out.requires_grad_(False)
    one = lambda *ids: m.E[list(ids)].mean(0)
    newline, user, assistant = (tok.encode(x).ids[0] for x in ("\n", "user", "assistant"))
    with torch.no_grad():
        for i, x in zip(NAMES, (one(1), one(user, newline), one(2), one(1, assistant, newline))):
            m.inp[i] = x
    size = float(m.E.pow(2).mean().sqrt())
    opt = torch.optim.Adam([m.inp], lr=a.lr * size, betas=(0.9, 0.95))
    data, log, began = examples(tok), [], time.time()
    for step in range(a.steps):
        for g in opt.param_groups:
            g["lr"] = a.lr * size * min(1, (step + 1) / 5) * (1 - 0.9 * step / a.steps)
        batch = [data[(step * a.batch + j) % len(data)] for j in range(a.batch)]
        theirs = [tok.encode(chatml([{"role": "user", "content": q}])).ids + x + [END] for q, _, x in batch]
        ours = [[BOS, USER] + ids + [ASSISTANT, UNTHINK] + x + [END] for _, ids, x in batch]

        def answers(docs):
            ends = torch.tensor([len(d) for d in docs]).cumsum(0).tolist()
            return torch.tensor([e - len(x) - 2 + i for e, (_, _, x) in zip(ends, batch) for i in range(len(x) + 1)])
        with torch.no_grad():
            y = m.logits(m.hidden(sum(theirs, []), [len(d) for d in theirs], False)[answers(theirs)], False).log_softmax(-1)
        z = m.logits(m.hidden(sum(ours, []), [len(d) for d in ours])[answers(ours)], False).log_softmax(-1)
        loss = (y.exp() * (y - z)).sum(-1).mean()
        opt.zero_grad()
        loss.backward()
        m.inp.grad[[i for i in range(source.CONTROL) if i not in NAMES]] = 0
        opt.step()
        log.append(float(loss.detach()))
        if step % 5 == 4:
            print(f"step {step + 1}: KL a token {sum(log[-5:]) / 5:.4f}, {time.time() - began:.0f} s", flush=True)
    torch.save({i: m.inp[i].detach().clone() for i in NAMES}, source.path("soft.pt"))


if __name__ == "__main__":
    main()
