"""Corpus parts + synthetic tasks -> packed token rows.

Documents are token lists with a loss weight per token. Rows of a fixed length
are filled with whole documents (the last one is cut). Worker processes build
rows in parallel and hand them over as numpy arrays.
"""

import glob
import json
import lzma
import multiprocessing as mp
import os
import random

import numpy as np
from tokenizers import Tokenizer

import chat_format as cf
import synth

TRAINED, CONTEXT, PLAIN = 1.0, 0.1, 1.0  # loss weights: answers, prompts, plain text


def load_parts(corpus):
    parts = {}
    for path in sorted(glob.glob(os.path.join(corpus, "*.jsonl.xz"))):
        with lzma.open(path, "rt", encoding="utf-8") as f:
            parts[os.path.basename(path).split(".")[0]] = [json.loads(x) for x in f]
    if not parts:
        raise FileNotFoundError(f"no *.jsonl.xz in {corpus}: build the corpus first (README.md, \"The corpus\")")
    return parts


# ------------------------------------------------- records -> conversations

def cut(text, n):
    return text if len(text) <= n else text[:n].rsplit(" ", 1)[0]


def from_record(part, x, r, parts):
    """One conversation made of a corpus record."""
    if part in ("sgd", "bfcl", "taskmaster", "topical"):
        m = [dict(y) for y in x["m"]]
        if part == "topical":
            m = m[: r.randint(2, 10) * 2]
        while m and m[-1]["role"] != "assistant":
            m.pop()
        if part == "sgd":
            m = m[: r.choice([8, 16, len(m)])]
            while m and (m[-1]["role"] != "assistant"):
                m.pop()
        return {"m": m, "f": x.get("f"), "thinking": False}
    if part == "gsm8k":
        if r.random() < 0.7:
            return synth.conv(x["q"], f"The answer is {x['a']}.", x["think"], True)
        return synth.conv(x["q"], x["think"] + f"\nThe answer is {x['a']}.")
    if part == "svamp":
        return synth.conv(x["q"], f"The answer is {x['a']}.", x["think"], r.random() < 0.6)
    if part == "trivia":
        opts = list(dict.fromkeys(x["o"]))
        if r.random() < 0.5 and x["a"] in opts and len(opts) > 1:
            r.shuffle(opts)
            lines = "\n".join(f"{l}. {o}" for l, o in zip("ABCDE", opts))
            l = "ABCDE"[opts.index(x["a"])] if opts.index(x["a"]) < 5 else "A"
            return synth.conv(f"{x['q']}\n{lines}", f"{l}. {x['a']}")
        return synth.conv(x["q"], x["a"] + ("" if x["a"].endswith(".") else "."))
    if part == "words":
        q = r.choice(["What does '{}' mean?", "Define the word {}.", "What is the meaning of {}?", "Explain the word '{}'."]).format(x["w"])
        a = f"{synth.cap(x['w'])}" + (f" ({x['pos']})" if x["pos"] else "") + f": {x['d']}."
        if "ex" in x and r.random() < 0.6:
            return synth.conv(q + " Give an example.", a + f" Example: {synth.cap(x['ex'])}.")
        return synth.conv(q, a)
    if part == "xquad":
        qa = list(x["qa"])
        r.shuffle(qa)
        c = synth.conv(f"{x['ctx']}\n\n{qa[0][0]}", synth.cap(qa[0][1]) + ".")
        for q, a in qa[1: r.randint(1, 4)]:
            c["m"] += [{"role": "user", "content": q}, {"role": "assistant", "content": synth.cap(a) + "."}]
        return c
    if part == "onestop":
        if "adv" in x and r.random() < 0.5:
            return synth.conv("Rewrite this text in simple English.\n\n" + cut(x["adv"], 3000), cut(x["ele"], 2500))
        return {"t": x[r.choice(list(x))]}
    if part == "instructions":
        return synth.conv(x["q"] + ("\n\n" + x["in"] if x["in"] else ""), x["a"])
    if part == "stories":
        title, _, body = x["t"].partition("\n")
        return synth.conv(r.choice([f"Tell me the story of {title}.", f"Write a story called {title}.", f"Tell me a story with the title '{title}'."]), cut(body, 2500))
    if part == "qmsum":
        turns = [f"{a}: {b}" for a, b in x["turns"]]
        q, a, spans = r.choice(x["specific"] or [[*x["general"][0], []]])
        lo, hi = 0, min(len(turns), 40)
        if spans:
            lo, hi = int(spans[0][0]), int(spans[-1][1]) + 1
        text = "\n".join(turns[max(0, lo - 2): hi + 2])
        return synth.conv(f"{cut(text, 9000)}\n\n{q}", a)
    if part == "books" and len(x["t"]) > 1500 and r.random() < 0.1:
        at = r.randrange(0, len(x["t"]) - 1200)
        s = x["t"][at: at + 1200].split(" ", 1)[-1]
        return synth.conv("Continue this text.\n\n" + s[:500], s[500:].rsplit(".", 1)[0].strip() + ".")
    return {"t": x["t"]}


# Share of training tokens per source; "short" and "long" are the synthetic tasks.
MIX_PRE = {"books": 10, "wiki": 16, "stories": 2, "qmsum": 4, "sgd": 12, "taskmaster": 1, "topical": 5, "gsm8k": 4, "svamp": 0.5, "trivia": 3, "words": 2,
           "xquad": 0.5, "onestop": 2, "instructions": 0.7, "bfcl": 1.5, "short": 24, "long": 12}
MIX_SFT = {"books": 3, "wiki": 3, "stories": 2, "qmsum": 2, "sgd": 8, "taskmaster": 1, "topical": 3, "gsm8k": 6, "svamp": 1, "trivia": 3, "words": 1.5,
           "xquad": 0.5, "onestop": 1, "instructions": 1.5, "bfcl": 2.5, "short": 42, "long": 19}
# For the CPU preset, which sees too few tokens to learn much from an encyclopedia.
MIX_SMALL = {"books": 5, "wiki": 5, "stories": 3, "qmsum": 1, "sgd": 7, "taskmaster": 1.5, "topical": 4, "gsm8k": 3, "svamp": 0.5, "trivia": 2, "words": 1,
             "xquad": 0.3, "onestop": 1.5, "instructions": 0.7, "bfcl": 1, "short": 45, "long": 19}
VALID_EVERY = 50  # every 50th record of a part is kept out of the training data


class Documents:
    """An endless, seeded stream of (tokens, weights) documents."""

    def __init__(self, tokenizer, corpus, mix, seed, long_chars=(1500, 6000), train=True, parts=None):
        self.tok = Tokenizer.from_file(tokenizer)
        self.rng = random.Random(seed)
        parts = parts or load_parts(corpus)
        self.parts = {}
        for k, v in parts.items():
            v = list(v)
            random.Random(1).shuffle(v)
            self.parts[k] = [x for i, x in enumerate(v) if (i % VALID_EVERY != 0) == train] or v
        self.mix = {k: w for k, w in mix.items() if k in self.parts or k in ("short", "long")}
        self.spent = {k: 0.0 for k in self.mix}
        self.at = {k: self.rng.randrange(len(v)) for k, v in self.parts.items()}
        self.long_chars = long_chars
        self.plain = [k for k in ("wiki", "books", "qmsum", "onestop") if k in self.parts]

    def filler(self, r):
        part = r.choice(self.plain)
        x = r.choice(self.parts[part])
        if part == "qmsum":
            i = r.randrange(len(x["turns"]))
            return "\n".join(f"{a}: {b}" for a, b in x["turns"][i: i + 6])[:900]
        t = x["t"] if "t" in x else x["ele"]
        i = r.randrange(max(1, len(t) - 600))
        return t[i: i + r.randint(150, 700)].split(" ", 1)[-1].replace("\n", " ")

    def encode(self, item):
        if "t" in item:
            t = item["t"]
            if self.rng.random() < 0.06 and len(t) > 600:  # fill in the middle
                at = self.rng.randrange(len(t) - 500)
                i = at + self.rng.randint(100, 250)
                j = i + self.rng.randint(10, 150)
                parts = cf.BOS + cf.FIM_BEGIN + t[at:i] + cf.FIM_HOLE + t[j: j + 200] + cf.FIM_END, t[i:j] + cf.EOS
                a, b = (self.tok.encode(x).ids for x in parts)
                return a + b, [CONTEXT] * len(a) + [TRAINED] * len(b)
            ids = [0] + self.tok.encode(t).ids + [1]
            return ids, [PLAIN] * len(ids)
        segs = cf.render(item["m"], item["f"], item["thinking"], short_tools=self.rng.random() < 0.5, schema=item.get("schema"))
        ids, ws = [], []
        for text, trained in segs:
            t = self.tok.encode(text).ids
            ids += t
            ws += [TRAINED if trained else CONTEXT] * len(t)
        return ids, ws

    def next(self):
        r = self.rng
        # choose the source that is furthest behind its share
        k = min(self.mix, key=lambda s: (self.spent[s] + 1) / self.mix[s] * (0.9 + 0.2 * r.random()))
        if k == "short":
            item = synth.short_task(r)
        elif k == "long":
            item = synth.long_task(r, int(r.uniform(*self.long_chars)), self.filler)
        else:
            v = self.parts[k]
            self.at[k] = (self.at[k] + 1) % len(v)
            item = from_record(k, v[self.at[k]], r, self.parts)
            if k == "qmsum" and r.random() < 0.5:
                item = {"t": "\n".join(f"{a}: {b}" for a, b in v[self.at[k]]["turns"])}
        ids, ws = self.encode(item)
        self.spent[k] += len(ids)
        return ids, ws


class Rows:
    """Packs documents into rows of length + 2 tokens (inputs, next and next-but-one targets)."""

    def __init__(self, docs, length):
        self.docs, self.n = docs, length + 2
        self.ids, self.ws = [], []

    def next(self):
        while len(self.ids) < self.n:
            a, b = self.docs.next()
            if len(a) > self.n - len(self.ids) and len(self.ids) > self.n // 2 and len(a) <= self.n:
                # start a long document in the next row rather than cutting it
                pad = self.n - len(self.ids)
                self.ids += [2] * pad
                self.ws += [0.0] * pad
                row = self.ids[: self.n], self.ws[: self.n]
                self.ids, self.ws = a, b
                return row
            self.ids += a
            self.ws += b
        row = self.ids[: self.n], self.ws[: self.n]
        self.ids, self.ws = [], []
        return row


def batch(rows, n):
    xs = [rows.next() for _ in range(n)]
    return np.asarray([x[0] for x in xs], dtype=np.int32), np.asarray([x[1] for x in xs], dtype=np.float32)


def _work(q, tokenizer, corpus, mix, seed, long_chars, length, n):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    rows = Rows(Documents(tokenizer, corpus, mix, seed, long_chars), length)
    while True:
        q.put(batch(rows, n))


class Loader:
    """Batches from `workers` processes (0: in this process)."""

    def __init__(self, tokenizer, corpus, mix, seed, long_chars, length, n, workers):
        self.procs = []
        if workers == 0:
            self.rows, self.n = Rows(Documents(tokenizer, corpus, mix, seed, long_chars), length), n
            return
        ctx = mp.get_context("spawn")
        self.q = ctx.Queue(maxsize=4 * workers)
        for i in range(workers):
            p = ctx.Process(target=_work, args=(self.q, tokenizer, corpus, mix, seed * 1000 + i, long_chars, length, n), daemon=True)
            p.start()
            self.procs.append(p)

    def next(self):
        return self.q.get() if self.procs else batch(self.rows, self.n)

    def close(self):
        for p in self.procs:
            p.terminate()
        for p in self.procs:
            p.join()
