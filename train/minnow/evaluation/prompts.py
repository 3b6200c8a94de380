"""Answers to a set of prompts, and their score.

A prompt is run once for each seed at the server's default settings. A prompt that names a
temperature (kind `repetition`) is run once.
"""

import json
import os

from . import checks
from .results import short_hash

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULTS = {"model": "deepseek-chat", "max_tokens": 512}


def load(path=os.path.join(HERE, "prompts.jsonl")):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def runs(prompt, seeds):
    return [seeds[0]] if "temperature" in prompt["request"] else seeds


def request(prompt, seed, more):
    """The body of a request. `more` overrides what no prompt names, such as a temperature to
    compare."""
    return DEFAULTS | more | prompt["request"] | {"seed": seed}


def answer_all(results, label, prompts, seeds, answers, more, at_once=1):
    """Asks what is not answered yet. `answers` yields an answer for each of a list of (body,
    prompt), `at_once` of them."""
    stored = results.part("answers", label)
    asked = [(request(p, s, more), p) for s in seeds for p in prompts if s in runs(p, seeds)]
    todo = [(body, p) for body, p in asked if stored.get(p["id"], {}).get(str(body["seed"]), {}).get("request") != short_hash(body)]
    for i in range(0, len(todo), at_once):
        group = todo[i: i + at_once]
        for (body, p), answer in zip(group, answers(group)):
            stored.setdefault(p["id"], {})[str(body["seed"])] = answer | {"request": short_hash(body)}
            results.save()
            print(f"{label} {p['id']} seed {body['seed']}: {'; '.join(checks.failures(p, answer)) or 'ok'}", flush=True)


def outcomes(stored, prompts, seeds):
    """{prompt: {seed: reasons}} of the stored answers; the only run of a prompt stands for all
    seeds."""
    out = {}
    for p in prompts:
        of = {int(s): checks.failures(p, a) for s, a in stored.get(p["id"], {}).items()}
        out[p["id"]] = {s: of[r] for s in seeds if (r := s if s in runs(p, seeds) else seeds[0]) in of}
    return out


def scores(stored, prompts, seeds):
    """{kind: {seed: (passed, run)}}, with the kind `all` at the end."""
    table = {}
    for p, of in zip(prompts, outcomes(stored, prompts, seeds).values()):
        for kind in (p["kind"], "all"):
            row = table.setdefault(kind, {s: [0, 0] for s in seeds})
            for s, reasons in of.items():
                row[s][0] += not reasons
                row[s][1] += 1
    table["all"] = table.pop("all")
    return table
