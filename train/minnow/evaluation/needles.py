"""Needles: a sentence with a value, somewhere in a text of a given length, and the question for the
value at its end.

A needle is found if every token of the value is the most likely one when the words before it are
given. Texts are held-out ones, the questions of all models are the same.
"""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
import chat_format as cf  # noqa: E402
from synth.long import SUBJECTS  # noqa: E402
from synth.words import FIRST, LAST, code  # noqa: E402

from . import chatml, held_out  # noqa: E402


def paragraphs(corpus, r):
    """Held-out paragraphs in an order of chance, without end."""
    texts = [p for name in ("wiki", "books") for x in held_out.part(corpus, name) for p in x["t"].split("\n") if 200 <= len(p) <= 900]
    while True:
        r.shuffle(texts)
        yield from texts


def filling(tok, text, size):
    """Paragraphs of nearly `size` tokens together."""
    out, too_long = [], 0
    while too_long < 8:
        p = next(text)
        n = len(tok.encode(p + "\n").ids)
        if n <= size:
            out.append(p)
            size -= n
        else:
            too_long += 1
    return out


def items(tok, corpus, length, n):
    """`n` of (ids in the V3.2 format, ids in ChatML, number of tokens of the value, the last ones),
    all of at most `length`."""
    r, out = random.Random(4242 + length), []
    text = paragraphs(corpus, r)
    while len(out) < n:
        owners = r.sample([f"{a} {b}" for a in FIRST for b in LAST], r.choice([1, 2, 4]))
        facts = [(owner, r.choice(SUBJECTS), code(r)) for owner in owners]
        blocks = filling(tok, text, length - 120 - 30 * len(facts))
        for owner, subject, value in facts:
            blocks.insert(r.randint(0, len(blocks)), f"The {subject} of {owner} is {value}.")
        owner, subject, value = facts[0]
        form = r.choice(["Read the following text.\n\n{t}\n\n{q}", "{t}\n\nQuestion: {q}"])
        question = [{"role": "user", "content": form.format(t="\n".join(blocks), q=f"What is the {subject} of {owner}?")}]
        lead, ending = tok.encode(f"The {subject} of {owner} is").ids, tok.encode(f" {value}").ids
        prompt = [t for s, _ in cf.render(question) for t in tok.encode(s).ids]
        out.append((prompt + lead + ending, chatml.encode(tok, question)[0] + lead + ending, len(ending)))
    return out


def found(ids, value_tokens, scored):
    """Whether each token of the value, the end of `ids`, is the most likely one."""
    return [best for best, _ in scored[-value_tokens:]] == ids[-value_tokens:]
