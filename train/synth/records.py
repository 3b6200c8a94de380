"""Reading and writing records: JSON, questions about a text, summaries, meetings, tables."""

import json

from .words import CITIES, CODEWORDS, COLORS, DAYS, DEPTS, FIRST, HOBBIES, JOBS, PLACES, THINGS, an, code, conv, date, full, join, name
from .text import sentence


def person(r):
    return {"name": full(r), "age": r.randint(18, 80), "city": r.choice(CITIES), "job": r.choice(JOBS), "hobby": r.choice(HOBBIES)}


def person_text(r, p):
    n = p["name"].split()[0]
    return r.choice([
        f"{p['name']} is {p['age']} years old and lives in {p['city']}. {n} works as {an(p['job'])} and enjoys {p['hobby']}.",
        f"{p['name']}, {p['age']}, is {an(p['job'])} from {p['city']}. In the evening {n} likes {p['hobby']}.",
        f"In {p['city']} there is {an(p['job'])} called {p['name']}. {n} is {p['age']} and loves {p['hobby']}.",
        f"Meet {p['name']}. {n} lives in {p['city']}, is {p['age']} years old, works as {an(p['job'])} and spends free time on {p['hobby']}.",
    ])


def order(r):
    return {"order_id": code(r), "customer": full(r), "item": r.choice(COLORS) + " " + r.choice(THINGS), "quantity": r.randint(1, 20),
            "price": r.choice([5, 8, 12, 15, 20, 25, 40, 60, 99]), "city": r.choice(CITIES)}


def order_text(r, o):
    return r.choice([
        f"{o['customer']} from {o['city']} ordered {o['quantity']} pieces of the {o['item']}. Each costs {o['price']} euros. The order number is {o['order_id']}.",
        f"Order {o['order_id']}: {o['quantity']} x {o['item']} at {o['price']} euros each, to be sent to {o['customer']} in {o['city']}.",
        f"Please send {o['quantity']} units of the {o['item']} ({o['price']} euros each) to {o['customer']}, {o['city']}. Reference: {o['order_id']}.",
    ])


def event(r):
    return {"title": r.choice(CODEWORDS).title() + " " + r.choice(["Festival", "Workshop", "Concert", "Fair", "Conference", "Party", "Race"]), "date": date(r),
            "city": r.choice(CITIES), "place": "the " + r.choice(PLACES), "organizer": full(r), "guests": r.randint(10, 900)}


def event_text(r, e):
    return r.choice([
        f"The {e['title']} takes place on {e['date']} at {e['place']} in {e['city']}. It is organized by {e['organizer']}, and {e['guests']} guests are expected.",
        f"{e['organizer']} will host the {e['title']} in {e['city']}. About {e['guests']} guests will meet at {e['place']} on {e['date']}.",
        f"On {e['date']}, {e['city']} welcomes {e['guests']} guests to the {e['title']} at {e['place']}. The organizer is {e['organizer']}.",
    ])


RECORDS = [(person, person_text), (order, order_text), (event, event_text)]


def json_extract(r):
    make, say = r.choice(RECORDS)
    rec = make(r)
    text = say(r, rec)
    if r.random() < 0.4:
        text = sentence(r) + " " + text
    if r.random() < 0.4:
        text += " " + sentence(r)
    keys = list(rec)
    if r.random() < 0.7:
        keys = r.sample(keys, r.randint(2, len(keys)))
    out = {k: rec[k] for k in keys}
    missing = r.random() < 0.1
    if missing:
        out["email"] = None
    ks = ", ".join(out)
    ask = r.choice([
        f"Extract the following fields as JSON: {ks}.", f"Return a JSON object with the keys {ks}.", f"Read the text and answer with JSON only. Keys: {ks}.",
        "Fill in this JSON: " + json.dumps({k: "..." for k in out})])
    user = f"{ask}\n\n{text}" if r.random() < 0.6 else f"{text}\n\n{ask}"
    ans = json.dumps(out, indent=2 if r.random() < 0.3 else None, ensure_ascii=False)
    if r.random() < 0.3:  # the same, asked for by a response format
        kind = {int: "integer", float: "number", str: "string"}
        schema = {"type": "object", "properties": {k: {"type": kind.get(type(v), "string")} for k, v in out.items()}, "required": list(out)}
        k = r.random()
        if k < 0.35:
            out, schema = rec, {"type": "json_object"}
        elif k < 0.8:
            schema = {"type": "json_schema", "json_schema": {"name": r.choice(["answer", "record", "data", make.__name__]), "schema": schema}}
        c = conv(r.choice(["", "Extract the data.\n\n", "Read this text.\n\n", "Answer in JSON.\n\n"]) + text, json.dumps(out, ensure_ascii=False))
        c["schema"] = schema
        return c
    think = "I look for the fields in the text. " + " ".join(f"{k}: {json.dumps(v, ensure_ascii=False)}." for k, v in out.items())
    return conv(user, ans, think, r.random() < 0.3)


def json_list(r):
    make, say = r.choice(RECORDS)
    recs = [make(r) for _ in range(r.randint(2, 5))]
    keys = r.sample(list(recs[0]), 2)
    text = " ".join(say(r, x) for x in recs)
    user = f"{text}\n\nList every entry as a JSON array of objects with the keys {keys[0]} and {keys[1]}."
    return conv(user, json.dumps([{k: x[k] for k in keys} for x in recs], ensure_ascii=False))


def json_write(r):
    make, _ = r.choice(RECORDS)
    rec = make(r)
    if r.random() < 0.5:
        lines = "; ".join(f"{k} = {v}" for k, v in rec.items())
        return conv(f"Write this as JSON: {lines}", json.dumps(rec, ensure_ascii=False))
    return conv(f"Turn this JSON into a list of lines: {json.dumps(rec, ensure_ascii=False)}", "\n".join(f"{k}: {v}" for k, v in rec.items()))


def doc_question(r):
    make, say = r.choice(RECORDS)
    recs = [make(r) for _ in range(r.randint(1, 4))]
    parts = [say(r, x) for x in recs] + [sentence(r) for _ in range(r.randint(0, 4))]
    r.shuffle(parts)
    x = r.choice(recs)
    qs = {
        "person": [(f"How old is {x.get('name')}?", f"{x.get('name')} is {x.get('age')} years old."), (f"Where does {x.get('name')} live?", f"{x.get('name')} lives in {x.get('city')}."),
                   (f"What is {x.get('name')}'s job?", f"{x.get('name')} works as {an(x.get('job', 'x'))}."), (f"What does {x.get('name')} like to do?", f"{x.get('name')} likes {x.get('hobby')}.")],
        "order": [(f"Who placed order {x.get('order_id')}?", f"{x.get('customer')} placed order {x.get('order_id')}."), (f"What did {x.get('customer')} order?", f"{x.get('customer')} ordered {x.get('quantity')} of the {x.get('item')}."),
                  (f"To which city does order {x.get('order_id')} go?", f"It goes to {x.get('city')}.")],
        "event": [(f"When is the {x.get('title')}?", f"The {x.get('title')} is on {x.get('date')}."), (f"Who organizes the {x.get('title')}?", f"{x.get('organizer')} organizes it."),
                  (f"How many guests are expected at the {x.get('title')}?", f"{x.get('guests')} guests are expected.")],
    }[make.__name__]
    q, a = r.choice(qs)
    text = "\n".join(parts) if r.random() < 0.5 else " ".join(parts)
    if r.random() < 0.12:
        nm = full(r)
        q, a = f"How old is {nm}?", "The text does not say."
    user = r.choice([f"{text}\n\nQuestion: {q}", f"Read this text:\n{text}\n\n{q}", f"{q}\n\nText: {text}"])
    return conv(user, a, f"I look in the text for the answer. {a}", r.random() < 0.25)


def summary(r):
    e = event(r)
    k = r.random()
    if k < 0.5:
        text = event_text(r, e) + " " + " ".join(sentence(r) for _ in range(r.randint(1, 4)))
        a = f"The {e['title']} will be held in {e['city']} on {e['date']}, organized by {e['organizer']}."
    else:
        p = person(r)
        text = person_text(r, p) + " " + " ".join(sentence(r) for _ in range(r.randint(1, 3)))
        a = f"{p['name']} is {an(p['job'])} from {p['city']} who enjoys {p['hobby']}."
    user = r.choice(["Summarise this text in one sentence:\n", "Give a one-sentence summary.\n\n", "What is this text mainly about? Use one sentence.\n\n"]) + text
    return conv(user, a, f"The main point comes first: {a} The rest is detail.", r.random() < 0.2)


TASKS = ["send the report to {x}", "call the {d} team", "book a room for the {e}", "update the price list", "write the first draft of the plan", "test the new login page", "order {n} new {t}s",
         "fix the broken link on the home page", "prepare the slides for {x}", "check the contract with {x}", "collect feedback from the {d} team", "train the new colleagues", "move the files to the new server",
         "review the budget", "plan the trip to {c}", "answer the letter from {x}", "print the posters for the {e}", "clean up the old accounts", "measure the load of the server", "translate the guide"]
CHAT = ["I think that is a good idea.", "The numbers look fine to me.", "We had some trouble last week, but it is solved now.", "Let us talk about the next point.", "Does anyone have questions?", "I agree with that.",
        "The customers asked for it many times.", "It took longer than we thought.", "Can we come back to this later?", "Thank you, that was very clear.", "I am not sure about the cost.", "The weather was bad, so the delivery was late.",
        "We should keep it simple.", "Sales went up a little this month.", "I will share my notes after the meeting."]


def task_text(r):
    return r.choice(TASKS).format(x=full(r), d=r.choice(DEPTS), e=r.choice(["workshop", "meeting", "party", "fair"]), n=r.randint(2, 20), t=r.choice(["lamp", "chair", "table", "phone", "bag"]), c=r.choice(CITIES))


def meeting(r, extra=0):
    people = r.sample(FIRST, r.randint(3, 5))
    items, lines = [], []
    for _ in range(r.randint(2, 5)):
        for _ in range(r.randint(0, 3)):
            lines.append((r.choice(people), r.choice(CHAT) if r.random() < 0.7 else sentence(r)))
        who, task, due = r.choice(people), task_text(r), r.choice(DAYS)
        if task in [t for _, t, _ in items]:
            continue
        if r.random() < 0.5:
            lines.append((who, r.choice([f"I will {task} by {due}.", f"I can {task}. You will have it on {due}.", f"Okay, I'll {task} before the end of {due}."])))
        else:
            boss = r.choice([p for p in people if p != who])
            lines.append((boss, r.choice([f"{who}, could you {task} by {due}?", f"{who}, please {task}. We need it on {due}."])))
            lines.append((who, r.choice(["Yes, I will do that.", "Sure, no problem.", "Okay, I'll take care of it."])))
        items.append((who, task, due))
    for _ in range(extra):
        lines.insert(r.randint(0, len(lines)), (r.choice(people), r.choice(CHAT) if r.random() < 0.3 else sentence(r)))
    text = "\n".join(f"{p}: {t}" for p, t in lines)
    return people, items, text


def action_items(r, extra=0):
    people, items, text = meeting(r, extra)
    k = r.random()
    if k < 0.5:
        ask, a = r.choice(["List the action items with owner and deadline.", "Extract all action items from this meeting.", "What are the action items? Give owner, task and due day."]), "\n".join(f"- {w}: {t} (by {d})" for w, t, d in items)
    elif k < 0.75:
        ask, a = "Extract the action items as a JSON array with the keys owner, task and due.", json.dumps([{"owner": w, "task": t, "due": d} for w, t, d in items], ensure_ascii=False)
    else:
        w = r.choice(items)[0]
        mine = [(t, d) for o, t, d in items if o == w]
        ask, a = f"What does {w} have to do?", f"{w} has to " + join([f"{t} by {d}" for t, d in mine]) + "."
    user = f"{ask}\n\nTranscript:\n{text}" if r.random() < 0.5 else f"Here is a meeting transcript.\n\n{text}\n\n{ask}"
    think = "I go through the transcript and note who promised what. " + " ".join(f"{w} will {t}, due {d}." for w, t, d in items)
    return conv(user, a, think, r.random() < 0.3)


def table(r):
    n = r.randint(3, 8)
    kind = r.randrange(3)
    if kind == 0:
        head, rows = ["Name", "City", "Age"], [[nm, r.choice(CITIES), r.randint(18, 80)] for nm in r.sample(FIRST, n)]
    elif kind == 1:
        head, rows = ["Item", "Color", "Price"], [[t, r.choice(COLORS), r.randint(1, 99)] for t in r.sample(THINGS, n)]
    else:
        head, rows = ["Team", "Lead", "Members"], [[d, name(r), r.randint(2, 60)] for d in r.sample(DEPTS, min(n, len(DEPTS)))]
    if r.random() < 0.6:
        text = "| " + " | ".join(head) + " |\n|" + "---|" * 3 + "\n" + "\n".join("| " + " | ".join(map(str, x)) + " |" for x in rows)
    else:
        text = ",".join(head) + "\n" + "\n".join(",".join(map(str, x)) for x in rows)
    x = r.choice(rows)
    k = r.randrange(5)
    if k == 0:
        q, a, th = f"What is the {head[2].lower()} for {x[0]}?", str(x[2]), f"The row of {x[0]} says {head[2]} = {x[2]}."
    elif k == 1:
        q, a, th = f"What is the {head[1].lower()} for {x[0]}?", str(x[1]), f"The row of {x[0]} says {head[1]} = {x[1]}."
    elif k == 2:
        b = max(rows, key=lambda z: z[2])
        q, a, th = f"Which {head[0].lower()} has the highest {head[2].lower()}?", f"{b[0]}, with {b[2]}.", f"The values are {', '.join(str(z[2]) for z in rows)}. The highest is {b[2]}, in the row of {b[0]}."
    elif k == 3:
        q, a, th = "How many rows does the table have, without the header?", f"The table has {len(rows)} rows.", f"The rows are {', '.join(str(z[0]) for z in rows)}. That makes {len(rows)}."
    else:
        q, a, th = f"Give the row of {x[0]} as JSON.", json.dumps({h: v for h, v in zip(head, x)}), f"The row of {x[0]} is {x}."
    return conv(f"{text}\n\n{q}", a, th, r.random() < 0.35)
