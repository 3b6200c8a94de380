"""Answers of the tuned model itself, before conversion -> work/answers.jsonl, for mtp.py.   python answers.py ADAPTER [--count 192] [--tokens 80]

The prompts are first messages of the fine-tuning's conversations and those of prompts.py; the answers are sampled at temperature 0.5."""

import argparse
import json
import os

import torch

import adapter
import mix
import prompts
import source
import chat_format as cf


def questions(n):
    """First requests, half of them of prompts.py."""
    d, out = mix.Data(source.tokenizer(), 203), []
    kinds = sorted(k for k in mix.SHARES if k != "tools")
    for q in prompts.prompts()[: n // 2]:
        if mix.bare(q) not in d.forbidden:
            out.append(cf.BOS + cf.USER + q + cf.ASSISTANT + cf.UNTHINK)
    while len(out) < n:
        c = mix.SHARES[d.r.choice(kinds)][0](d.r)
        if d.forbidden.intersection(mix.user_texts(c)):
            continue
        first = next(i for i, m in enumerate(c["m"]) if m["role"] == "assistant")
        out.append("".join(s for s, trained in cf.render(c["m"][: first + 1], c["f"], c["thinking"], schema=c.get("schema")) if not trained))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("adapter")
    ap.add_argument("--count", type=int, default=192)
    ap.add_argument("--tokens", type=int, default=80)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, tok, out = adapter.Model(), source.tokenizer(), source.path("answers.jsonl")
    m.load(a.adapter)
    asked = sorted((tok.encode(x).ids for x in questions(a.count)), key=len)
    with open(out + ".tmp", "w", encoding="utf-8") as f:
        for i in range(0, len(asked), a.batch):
            for q, (y, ended) in zip(asked[i: i + a.batch], m.sample(asked[i: i + a.batch], a.tokens, temperature=0.5, seed=i, adapt=True)):
                f.write(json.dumps({"ids": q + y + [source.END] * ended}) + "\n")
            print(f"{min(i + a.batch, len(asked))} of {len(asked)}", flush=True)
    os.replace(out + ".tmp", out)


if __name__ == "__main__":
    main()
