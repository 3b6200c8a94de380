"""Held-out loss and perplexity, needle accuracy and samples of trained checkpoints.

    python eval.py --model DIR/dense:dense --model DIR/sparse:sparse --model DIR/sparse:dense --lengths 2048,8192,32768

A model is given as PATH:MODE, MODE being dense (full attention) or sparse (top-k). FP8 folders are dequantised, so with --fp32
what differs from their source is the rounding of the weights alone.
"""

import argparse
import json
import math
import os
import random
import sys
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import chat_format as cf
import checkpoint
import data
import model as M
import synth

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPTS = [
    ("Hello!", False), ("Who are you?", False), ("What is the capital of Japan?", False), ("What is 27 + 48?", True), ("Tell me a short story about a fox.", False),
    ("Tom has 12 apples. Ann gives him 9 more. How many apples does Tom have now?", True), ("Name three colors. Answer as a JSON array.", False),
    ("Ben Stone is 41 years old and lives in Oslo. Ben works as a baker and enjoys chess.\n\nExtract the following fields as JSON: name, age, city.", False),
    ("List the action items with owner and deadline.\n\nTranscript:\nAda: The numbers look fine to me.\nTom: I will update the price list by Friday.\nAda: Mia, could you test the new login page by Monday?\nMia: Sure, no problem.", False),
    ("What does 'river' mean?", False), ("Why is the sky blue?", False)]
TOOL = {"name": "get_weather", "description": "Get the weather.", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Name of the city"}, "day": {"type": "string", "description": "Day of the week"}}, "required": ["city"]}}


class Model:
    def __init__(self, spec, device, fp32):
        path, _, mode = spec.rpartition(":")
        self.name, self.net = spec, checkpoint.load_hf(path, device).eval()
        self.net.mode, self.net.chunk = mode, 256
        self.dev, self.fp32 = torch.device(device), fp32
        M.MoE.impl = "all" if self.dev.type == "cuda" else "loop"

    @torch.no_grad()
    def hidden(self, ids):
        with torch.autocast(self.dev.type, dtype=torch.bfloat16, enabled=not self.fp32):
            return self.net.hidden(torch.as_tensor(ids, device=self.dev)[None].long())[0][0]

    @torch.no_grad()
    def logits(self, h):
        return F.linear(h.float(), self.net.lm_head.weight.float())

    def generate(self, ids, n, stop=1):
        ids = list(ids)
        for _ in range(n):
            t = int(self.logits(self.hidden(ids)[-1]).argmax())
            if t == stop:
                break
            ids.append(t)
        return ids


def validation_rows(a, parts, length):
    """Held-out rows of plain text and of conversations."""
    out = {}
    for kind, mix in (("text", {"wiki": 4, "books": 3, "qmsum": 2, "onestop": 1}), ("chat", {"sgd": 3, "gsm8k": 2, "short": 4, "topical": 1})):
        r = data.Rows(data.Documents(a.tokenizer, a.corpus, mix, 99, train=False, parts=parts), length)
        out[kind] = [r.next() for _ in range(a.rows)]
    return out


def held_out(m, rows):
    """Mean loss (nats a token), perplexity and number of tokens over plain text and answers; prompts are left out."""
    total = n = 0.0
    for ids, ws in rows:
        h = m.hidden(ids[:-2])
        for s in range(0, len(h), 4096):
            e = min(s + 4096, len(h))
            y = torch.tensor(ids[1 + s: 1 + e], device=m.dev)
            w = (torch.tensor(ws[1 + s: 1 + e], device=m.dev) >= 1.0).float()
            total += float((F.cross_entropy(m.logits(h[s:e]), y, reduction="none") * w).sum())
            n += float(w.sum())
    return {"loss": round(total / n, 4), "perplexity": round(math.exp(total / n), 3), "tokens": int(n)} if n else None


def needle_item(tok, docs, r, length, kind):
    """(ids, positions of the value tokens): a retrieval task of nearly `length` tokens."""
    chars = length * 3.4
    for _ in range(12):
        if kind == "keys":
            c = synth.key_values(r, int(chars * 0.62))
        else:
            c = synth.needle(r, int(chars), docs.filler)
        c["thinking"] = False
        q = c["m"][0]["content"]
        a = c["m"][1]["content"]
        value = a.rstrip(".").split(" is ")[-1]
        if kind == "keys":
            key = q.rsplit("What is the value of ", 1)[1][:-1]
            a = f"The value of {key} is {value}."
        elif " is " not in a:
            fact = next(x for x in q.splitlines() if x.rstrip(".").endswith(" " + value))
            a = "The " + fact.split(": ", 1)[-1].removeprefix("the ").removeprefix("The ") if "'s" not in fact else value
        c["m"][1]["content"] = a
        segs = cf.render(c["m"])
        prompt = [t for s, trained in segs if not trained for t in tok.encode(s).ids]
        answer = tok.encode(segs[-1][0])
        ids = prompt + answer.ids
        if len(ids) > length:
            chars *= 0.97 * length / len(ids)
            continue
        lo = segs[-1][0].rindex(value)
        pos = [len(prompt) + i for i, (b, e) in enumerate(answer.offsets) if e > lo and b < lo + len(value)]
        return ids, pos
    return None


def needle_items(tok, docs, length, n, kind):
    r = random.Random(4242)
    items = [needle_item(tok, docs, r, length, kind) for _ in range(n)]
    return [x for x in items if x]


def needle_accuracy(m, items):
    """Share of items of which every value token is the model's first choice."""
    hit = 0
    for ids, pos in items:
        h = m.hidden(ids)
        hit += m.logits(h[[p - 1 for p in pos]]).argmax(-1).tolist() == [ids[p] for p in pos]
    return round(hit / len(items), 3) if items else None


def samples(m, tok, n=96):
    out = []
    for q, think in PROMPTS:
        text = "".join(s for s, t in cf.render([{"role": "user", "content": q}], thinking=think))
        ids = tok.encode(text).ids
        out.append((q, tok.decode(m.generate(ids, n)[len(ids):], skip_special_tokens=False)))
    for think in (False, True):
        text = "".join(s for s, t in cf.render([{"role": "user", "content": "What will the weather be in Lisbon on Sunday?"}], [TOOL], think, short_tools=True))
        ids = tok.encode(text).ids
        out.append(("(tool) What will the weather be in Lisbon on Sunday?", tok.decode(m.generate(ids, n)[len(ids):], skip_special_tokens=False)))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", action="append", required=True, help="PATH:dense or PATH:sparse")
    ap.add_argument("--corpus", default=os.path.join(HERE, "corpus"))
    ap.add_argument("--tokenizer", default=os.path.join(HERE, "..", "models", "fixture", "tokenizer.json"))
    ap.add_argument("--lengths", default="2048,8192,32768")
    ap.add_argument("--needles", type=int, default=50)
    ap.add_argument("--rows", type=int, default=4, help="validation rows per length for the perplexity")
    ap.add_argument("--samples", type=int, default=96, help="tokens per sample of the sparse models (or of the only model); 0: none")
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--fp32", action="store_true")
    ap.add_argument("--out", default="")
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    tok = Tokenizer.from_file(a.tokenizer)
    parts = data.load_parts(a.corpus)
    docs = data.Documents(a.tokenizer, a.corpus, {"wiki": 1}, 5, train=False, parts=parts)
    tests = {}
    for length in map(int, a.lengths.split(",")):
        tests[length] = validation_rows(a, parts, length), {kind: needle_items(tok, docs, length, a.needles, kind) for kind in ("text", "keys") if kind == "text" or length <= 16384}
    report = []
    for spec in a.model:
        m = Model(spec, a.device, a.fp32)
        name = os.path.basename(spec)
        for length, (rows, items) in tests.items():
            if length > m.net.c.max_position_embeddings:
                sys.exit(f"{spec} has {m.net.c.max_position_embeddings} positions, not {length}: choose --lengths accordingly")
            t = time.time()
            row = {"model": name, "length": length, "held_out": {k: held_out(m, v) for k, v in rows.items()}, "needle": {k: needle_accuracy(m, v) for k, v in items.items()}, "seconds": round(time.time() - t, 1)}
            report.append(row)
            print(json.dumps(row), flush=True)
        if a.samples and (spec.endswith(":sparse") or len(a.model) == 1):
            for q, s in samples(m, tok, a.samples):
                report.append({"model": name, "q": q, "a": s})
                print("Q:", q.replace("\n", " / "), "\nA:", s, "\n", flush=True)
    if a.out:
        with open(a.out, "w") as f:
            json.dump(report, f, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
