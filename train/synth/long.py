"""Facts to be found in long texts."""

import json

from .words import CODEWORDS, FIRST, LAST, code, conv
from .text import sentence
from .records import RECORDS, action_items


def filler_blocks(r, n_chars, filler=None):
    """Paragraphs of about n_chars characters in total, from `filler` (a callable) or own sentences."""
    out, size = [], 0
    while size < n_chars:
        b = filler(r) if filler and r.random() < 0.75 else " ".join(sentence(r) for _ in range(r.randint(2, 6)))
        b = b[: max(0, n_chars - size) + 200]
        out.append(b)
        size += len(b) + 1
    return out


SUBJECTS = ["access code", "password", "secret number", "magic word", "locker number", "phone extension", "badge number", "serial number", "room code", "ticket number"]


def needle(r, n_chars=6000, filler=None):
    blocks = filler_blocks(r, n_chars, filler)
    k = r.choice([1, 1, 2, 4, 8])
    owners = r.sample([x + " " + y for x in r.sample(FIRST, 12) for y in r.sample(LAST, 3)], k)
    facts = []
    for o in owners:
        s, v = r.choice(SUBJECTS), code(r)
        facts.append((o, s, v))
        line = r.choice([f"The {s} of {o} is {v}.", f"Please remember: the {s} of {o} is {v}.", f"Note: {o}'s {s} is {v}."])
        blocks.insert(r.randint(0, len(blocks)), line)
    o, s, v = r.choice(facts)
    text = "\n".join(blocks)
    q = r.choice([f"What is the {s} of {o}?", f"Tell me the {s} of {o}.", f"Which {s} does {o} have?"])
    user = r.choice([f"Read the following text.\n\n{text}\n\n{q}", f"{text}\n\nQuestion: {q}", f"Answer the question at the end.\n\n{text}\n\n{q}"])
    return conv(user, r.choice([f"The {s} of {o} is {v}.", f"{v}"]), f"I search the text for {o}. It says that the {s} of {o} is {v}.", r.random() < 0.25)


def key_values(r, n_chars=3000):
    n = max(4, n_chars // 28)
    keys = set()
    while len(keys) < n:
        keys.add(r.choice(CODEWORDS) + "-" + str(r.randint(1, 999)))
    keys = sorted(keys)  # a set has another order in every process
    r.shuffle(keys)
    vals = {k: str(r.randint(1000, 99999)) for k in keys}
    k = r.choice(keys)
    if r.random() < 0.5:
        body = "\n".join(f"{x}: {vals[x]}" for x in keys)
    else:
        body = json.dumps(vals)
    return conv(f"Here is a list of keys and values.\n\n{body}\n\nWhat is the value of {k}?", r.choice([vals[k], f"The value of {k} is {vals[k]}."]), f"I look up {k}. Its value is {vals[k]}.", r.random() < 0.2)


def documents(r, n_chars=5000, filler=None):
    docs, size, recs = [], 0, []
    while size < n_chars:
        make, say = r.choice(RECORDS)
        x = make(r)
        recs.append((make, x))
        body = " ".join([sentence(r) for _ in range(r.randint(0, 2))] + [say(r, x)] + ([filler(r)[:600]] if filler and r.random() < 0.5 else [sentence(r)]))
        docs.append(body)
        size += len(body)
    i = r.randrange(len(docs))
    make, x = recs[i]
    q, a = {"person": lambda: (f"How old is {x['name']} and where does {x['name'].split()[0]} live?", f"{x['name']} is {x['age']} years old and lives in {x['city']}."),
            "order": lambda: (f"Who placed order {x['order_id']}, and for what?", f"{x['customer']} ordered {x['quantity']} of the {x['item']}."),
            "event": lambda: (f"When and where is the {x['title']}?", f"The {x['title']} is on {x['date']} in {x['city']}.")}[make.__name__]()
    text = "\n\n".join(f"Document {j + 1}:\n{d}" for j, d in enumerate(docs))
    if r.random() < 0.4:
        q += " Say which document has the answer."
        a += f" (Document {i + 1})"
    return conv(f"{text}\n\n{q}", a, f"Document {i + 1} has the answer. {a}", r.random() < 0.25)


def long_meeting(r, n_chars=5000):
    return action_items(r, extra=n_chars // 60)
