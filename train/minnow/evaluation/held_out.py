"""Held-out loss of plain text and of the answers in conversations, for a checkpoint in the V3.2
format and for its source in ChatML.

The rows hold the same texts and the same conversations in both formats. Of each part of the corpus,
the records with an index divisible by 50 are held out, as in the training (`train/CORPUS.md`).
"""

import json
import lzma
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
import chat_format as cf  # noqa: E402

from . import chatml  # noqa: E402

HELD_OUT_EVERY = 50


def part(corpus, name):
    """The held-out records of a part."""
    with lzma.open(os.path.join(corpus, name + ".jsonl.xz"), "rt", encoding="utf-8") as f:
        return [json.loads(line) for i, line in enumerate(f) if i % HELD_OUT_EVERY == 0]


def conversations(corpus):
    """Held-out conversations: instructions, arithmetic word problems, questions about a paragraph,
    small talk."""
    user = lambda s: {"role": "user", "content": s}
    said = lambda s: {"role": "assistant", "content": s}
    out = [[user(x["q"] + ("\n\n" + x["in"] if x.get("in") else "")), said(x["a"])] for x in part(corpus, "instructions") if x.get("a")]
    out += [[user(x["q"]), said(f"{x['think']}\nThe answer is {x['a']}.")] for name in ("svamp", "gsm8k") for x in part(corpus, name)]
    for x in part(corpus, "xquad"):
        (q, a), *rest = x["qa"][:3]
        out.append([user(f"{x['ctx']}\n\n{q}"), said(a + ".")] + [m for q, a in rest for m in (user(q), said(a + "."))])
    for x in part(corpus, "topical"):
        turns = x["m"][:12]
        while turns and turns[-1]["role"] != "assistant":
            turns = turns[:-1]
        if turns and turns[0]["role"] == "user":
            out.append([{"role": m["role"], "content": m["content"]} for m in turns])
    random.Random(7).shuffle(out)
    return out


def encode_v32(tok, messages):
    """(ids, whether each is one of an answer) of a conversation in the V3.2 format."""
    ids, trained = [], []
    for text, of_answer in cf.render(messages):
        more = tok.encode(text).ids
        ids += more
        trained += [of_answer] * len(more)
    return ids, trained


def text_rows(tok, corpus, length, n):
    """`n` rows of plain text, half of them of each of wiki and books: (ids, all true)."""
    out = []
    for name in ("wiki", "books"):
        ids, want = [], (n - len(out) + 1) // 2 if name == "wiki" else n - len(out)
        for x in part(corpus, name):
            if len(ids) >= want * length:
                break
            ids += tok.encode(x["t"]).ids + [0]
        out += [(ids[i * length: (i + 1) * length], [True] * length) for i in range(min(want, len(ids) // length))]
    return out


def chat_rows(tok, corpus, length, n):
    """`n` rows of whole conversations: ((ids, mask) in the V3.2 format, (ids, mask) of the same
    ones in ChatML)."""
    out, row, source_row = [], ([], []), ([], [])
    for c in conversations(corpus):
        a, b = encode_v32(tok, c), chatml.encode(tok, c, answer=False)
        if max(len(row[0]) + len(a[0]), len(source_row[0]) + len(b[0])) > length:
            if row[0]:
                out.append((row, source_row))
            if len(out) == n:
                return out
            row, source_row = ([], []), ([], [])
        if max(len(a[0]), len(b[0])) <= length:
            row, source_row = (row[0] + a[0], row[1] + a[1]), (source_row[0] + b[0], source_row[1] + b[1])
    return out


def sums(logprobs, mask):
    """[negative log-probability, tokens] of the marked tokens of a row, its first one apart."""
    marked = [p for p, m in zip(logprobs, mask[1:]) if m]
    return [-float(sum(marked)), len(marked)]


def mean(stored):
    """(loss in nats a token, tokens) of stored rows."""
    total, n = (sum(x) for x in zip(*stored.values()))
    return total / n, int(n)
