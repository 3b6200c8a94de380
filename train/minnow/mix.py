"""Conversations -> examples. An example is a dict: `ids`; `pos`, the tokens with a loss; `kind`; `ce`, the weight of plain cross-entropy at each of `pos`
(the rest is KL to the source); `teacher`, (ids, pos) of the same answer behind the source's own format, or None."""

import json
import os
import random

import conversation
import calls
import coding
import jsons
import knowledge
import meetings
import memory
import minutes
import results
import rules
import source
import sums
import tales
import talk
import texts
import chat_format as cf
from source import END, chatml, part
from synth.stories import story
from synth.words import cap

SHARES = {  # kind: (what makes a conversation, share of tokens)
    "identity": (talk.identity, 3), "greetings": (talk.greetings, 3), "lists": (knowledge.lists, 8), "system": (rules.honours_system, 22), "memory": (memory.memory, 5), "bullets": (meetings.bullets_mix, 12), "minutes": (minutes.minutes, 8), "missing": (talk.missing, 2.5), "actions": (meetings.actions_mix, 24), "sums": (sums.sums, 4), "thought": (sums.thought, 8),
    "translate": (texts.translate, 0.4), "unknown": (talk.unknown, 1), "haiku": (texts.haiku, 0.2), "stories": (story, 0.4), "tales": (tales.tale, 2), "tools": (calls.tools, 11), "results": (results.results, 9), "json": (jsons.jsons, 5), "reading": (texts.reading, 2), "facts": (knowledge.facts, 6), "explain": (knowledge.explain, 9), "code": (coding.coding, 3)}
RECORDS = {"bfcl": 3, "teacher": 14, "instructions": 3, "plain": 20, "xquad": 0.3, "svamp": 0.3}
CASUAL = ("identity", "greetings", "lists", "memory", "sums", "thought", "unknown", "tales", "tools", "facts", "explain", "missing")  # kinds whose questions may come in small letters


def bare(text):
    """A text without case, punctuation and spaces, for comparison with the prompts of the evaluation."""
    return "".join(x for x in text.lower() if x.isalnum())


def user_texts(c):
    return [bare(m["content"]) for m in c["m"] if m["role"] == "user"]


def casual(r, c):
    """The same conversation with one question as people type it: in small letters, often without a mark at its end."""
    users = [m for m in c["m"] if m["role"] == "user" and "\n" not in m["content"]]
    if users:
        m = r.choice(users)
        m["content"] = m["content"].lower().rstrip(".?!" if r.random() < 0.6 else "")
    return c


def user_messages(files):
    """User messages of files of prompts, without case and punctuation."""
    found = set()
    for p in files:
        with open(p, encoding="utf-8") as f:
            found |= {bare(m["content"]) for x in map(json.loads, f) for m in x["request"]["messages"] if m["role"] == "user"}
    return found


class Data:
    """A seeded stream of examples. No conversation contains a user message of the evaluation, or of the files `forbidden`."""

    def __init__(self, tok, seed, held_out=False, teacher=None, forbidden=()):
        self.tok, self.r, self.held_out = tok, random.Random(seed), held_out
        self.forbidden = user_messages([os.path.join(source.HERE, "evaluation", x) for x in ("prompts.jsonl", "second.jsonl")] + list(forbidden))
        self.teach = []
        if not held_out:
            with open(teacher or source.path("teacher.jsonl"), encoding="utf-8") as f:
                self.teach = [x for x in map(json.loads, f) if "SmolLM" not in x["a"] and "Hugging" not in x["a"]]
        self.shares = {k: v[1] for k, v in SHARES.items()} | {k: v for k, v in RECORDS.items() if k != "teacher" or self.teach}
        self.pools = {"teacher": self.teach, "instructions": [x for x in part("instructions", held_out) if x.get("a")], "xquad": part("xquad", held_out), "bfcl": [x for x in part("bfcl", held_out) if len(x["f"]) < 4 and len(x["m"]) == 2 and len(x["m"][1].get("tool_calls", [])) == 1], "svamp": part("svamp", held_out), "plain": [x["t"] for x in part("wiki", held_out)[:3000] + part("books", held_out)]}
        for x in self.pools.values():
            self.r.shuffle(x)
        self.at = dict.fromkeys(self.pools, 0)
        self.spent = dict.fromkeys(self.shares, 0.0)

    def enc(self, s):
        return self.tok.encode(s).ids

    def encode(self, c, kind):
        ids, pos = [], []
        for text, trained in cf.render(c["m"], c["f"], c["thinking"], c.get("short", False), c.get("schema")):
            t = self.enc(text)
            if trained:
                pos += range(len(ids), len(ids) + len(t))
            ids += t
        return {"ids": ids, "pos": pos, "kind": kind, "ce": [1.0] * len(pos), "teacher": None}

    def distil(self, q, answer, kind, ce, thinking=None):
        """One question with the source's distribution over the answer's tokens; that the answer ends is plain cross-entropy."""
        a = answer + [END]
        system = conversation.maybe_system(self.r, 0.3)
        head = self.enc(cf.BOS + "".join(m["content"] for m in system) + cf.USER + q + cf.ASSISTANT + (cf.THINK + thinking + cf.UNTHINK if thinking else cf.UNTHINK))
        t = self.enc(chatml([{"role": "user", "content": q}]))
        return {"ids": head + a, "pos": list(range(len(head), len(head) + len(a))), "kind": kind, "ce": [ce] * len(answer) + [1.0], "teacher": (t + a, list(range(len(t), len(t) + len(a))))}

    def whole_sentences(self, ids, ended, longest=80):
        """The answer's tokens up to the end of a sentence or a line, when it was cut."""
        if ended and len(ids) <= longest:
            return ids
        text = self.tok.decode(ids[:longest])
        end = max(text.rfind(x) for x in (". ", ".\n", "! ", "? ", ".")) + 1
        return self.enc(text[:end].rstrip()) if end > 40 else None

    def make(self, k):
        r = self.r
        if k in SHARES:
            c = SHARES[k][0](r)
            if k in CASUAL and not any("tool_calls" in m for m in c["m"]) and r.random() < 0.2:
                c = casual(r, c)
            return None if self.forbidden.intersection(user_texts(c)) else self.encode(c, k)
        pool = self.pools[k]
        x = pool[self.at[k] % len(pool)]
        self.at[k] += 1
        if k == "teacher":
            thinking = None
            if r.random() < 0.12:
                thinking = r.choice(["A simple request. I answer directly.", "I say what I know about this, briefly.", "The user wants a short text. I write it."])
            ids = self.whole_sentences(x["ids"], x["end"])
            return ids and bare(x["q"]) not in self.forbidden and self.distil(x["q"], ids, k, 0.0, thinking)
        if k == "instructions":
            ids = self.enc(x["a"])
            return self.distil(x["q"] + ("\n\n" + x["in"] if x.get("in") else ""), ids, k, 0.3) if len(ids) < 160 else None
        if k == "plain":
            n = r.choice([900, 900, 3000])  # letters
            i = r.randrange(max(1, len(x) - n))
            ids = [0] + self.enc(x[i: i + n].split(" ", 1)[-1])[: n * 2 // 9]
            pos = list(range(1, len(ids)))
            return {"ids": ids, "pos": pos, "kind": k, "ce": [0.0] * len(pos), "teacher": (ids, pos)}
        if k == "xquad":
            qa = list(x["qa"])
            r.shuffle(qa)
            m = [conversation.U(f"{x['ctx'][:1500]}\n\n{qa[0][0]}"), conversation.A(cap(qa[0][1]) + ".")]
            for q, a in qa[1:3]:
                m += [conversation.U(q), conversation.A(cap(a) + ".")]
            return self.encode(conversation.C(m), k)
        if k == "bfcl":
            return self.encode(conversation.C(conversation.maybe_system(r, 0.3) + x["m"], f=x["f"], short=r.random() < 0.5), k)
        thinking = r.random() < 0.5
        c = conversation.C([conversation.U(x["q"]), conversation.A(f"The answer is {x['a']}." if thinking else f"{x['think']}\nThe answer is {x['a']}.")])
        return self.encode(conversation.think(c, x["think"], r, 1) if thinking else c, k)

    def next(self, longest=900):
        """The next example, of the kind that is furthest behind its share."""
        while True:
            k = min(self.shares, key=lambda s: (self.spent[s] + 1) / self.shares[s] * (0.8 + 0.4 * self.r.random()))
            e = self.make(k)
            if e and len(e["ids"]) <= longest and e["pos"]:
                self.spent[k] += len(e["ids"])
                return e

    def batch(self, tokens):
        out, n = [], 0
        while n < tokens:
            out.append(self.next())
            n += len(out[-1]["ids"])
        return out
