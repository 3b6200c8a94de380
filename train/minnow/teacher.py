"""The source's own answers to prompts.py, for distillation -> work/teacher.jsonl.   python teacher.py [--tokens 110]"""

import argparse
import json
import os

import torch

import adapter
import prompts
import source


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tokens", type=int, default=110)
    ap.add_argument("--batch", type=int, default=48)
    ap.add_argument("--temperature", type=float, default=0.5)
    ap.add_argument("--bf16", action="store_true", help="products in bfloat16: faster on CPUs with AMX")
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, tok, out = adapter.Model(1, half=a.bf16), source.tokenizer(False), source.path("teacher.jsonl")
    asked = sorted(prompts.prompts(), key=len)
    with open(out + ".tmp", "w", encoding="utf-8") as f:
        for i in range(0, len(asked), a.batch):
            q = asked[i: i + a.batch]
            ids = [tok.encode(source.chatml([{"role": "user", "content": x}])).ids for x in q]
            for x, (y, ended) in zip(q, m.sample(ids, a.tokens, a.temperature, seed=i)):
                f.write(json.dumps({"q": x, "a": tok.decode(y), "ids": y, "end": ended}) + "\n")
            print(f"{min(i + a.batch, len(asked))} of {len(asked)}", flush=True)
    os.replace(out + ".tmp", out)


if __name__ == "__main__":
    main()
