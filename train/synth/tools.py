"""Tool calls, their results, and when to ask back."""

import json

from .words import CITIES, CODEWORDS, COLORS, DAYS, FACTS, THINGS, an, cap, code, conv, date, full, join, name

SYL = "ka lo mi ra ten vor sel pa nu qui dex ari fen tor bel zan ori".split()
PARAMS = [
    ("city", "string", "Name of the city", lambda r: r.choice(CITIES), "in {v}"), ("name", "string", "Name of the person", full, "for {v}"),
    ("date", "string", "The date", date, "on {v}"), ("day", "string", "Day of the week", lambda r: r.choice(DAYS), "on {v}"),
    ("quantity", "integer", "How many", lambda r: r.randint(1, 50), "with quantity {v}"), ("limit", "integer", "Maximum number of results", lambda r: r.randint(1, 20), "with at most {v} results"),
    ("color", "string", "The color", lambda r: r.choice(COLORS), "in the color {v}"), ("item", "string", "The item", lambda r: r.choice(THINGS), "for the item {v}"),
    ("code", "string", "A reference code", code, "with the code {v}"), ("price", "number", "Price in euros", lambda r: r.choice([4.5, 9.99, 12.0, 20.5, 3.25]), "at a price of {v}"),
    ("urgent", "boolean", "Whether it is urgent", lambda r: r.random() < 0.5, "with urgent set to {v}"), ("tags", "array", "A list of tags", lambda r: r.sample(CODEWORDS, r.randint(1, 3)), "with the tags {v}"),
    ("email", "string", "Email address", lambda r: f"{name(r).lower()}@{r.choice(CODEWORDS)}.com", "to {v}"), ("query", "string", "What to search for", lambda r: r.choice(COLORS) + " " + r.choice(THINGS), "about {v}"),
]
VERBS = [("get", "Get"), ("find", "Find"), ("create", "Create"), ("update", "Update"), ("delete", "Delete"), ("send", "Send"), ("book", "Book"), ("search", "Search"), ("list", "List"), ("check", "Check"), ("set", "Set")]
NOUNS = "weather order ticket room meeting invoice message reminder event user product flight account report song note task file contact price table".split()


def make_tool(r):
    v, vv = r.choice(VERBS)
    n = r.choice(NOUNS) if r.random() < 0.8 else "".join(r.sample(SYL, r.randint(2, 3)))
    fn = r.choice([f"{v}_{n}", f"{v}{n.title()}", f"{n}_{v}", f"{n}.{v}"])
    ps = r.sample(PARAMS, r.randint(1, 4))
    req = [p[0] for p in ps if r.random() < 0.8] or [ps[0][0]]
    props = {p[0]: {"type": p[1], "description": p[2], **({"items": {"type": "string"}} if p[1] == "array" else {})} for p in ps}
    schema = {"name": fn, "description": f"{vv} {an(n)}.", "parameters": {"type": "object", "properties": props, "required": req}}
    return schema, ps, (v, n)


def call_request(r, tool, ps, vn):
    use = [p for p in ps if p[0] in tool["parameters"]["required"] or r.random() < 0.5]
    args, bits = {}, []
    for p in use:
        val = p[3](r)
        args[p[0]] = val
        shown = join(val) if isinstance(val, list) else str(val).lower() if isinstance(val, bool) else str(val)
        bits.append(p[4].format(v=shown))
    v, n = vn
    phrase = f"{v} {'the' if r.random() < 0.5 else 'a'} {n} " + " ".join(bits)
    return args, phrase


def tool_call(r):
    tools = [make_tool(r) for _ in range(r.randint(1, 4))]
    names = set()
    tools = [t for t in tools if not (t[0]["name"] in names or names.add(t[0]["name"]))]
    schemas = [t[0] for t in tools]
    r.shuffle(schemas)
    k = r.random()
    thinking = r.random() < 0.4
    if k < 0.1:
        q, a = r.choice(FACTS)
        return conv(q, a, "No tool is needed for this question. I can answer it directly.", thinking, tools=schemas)
    t, ps, vn = r.choice(tools)
    if k < 0.2 and t["parameters"]["required"]:
        miss = t["parameters"]["required"][0]
        desc = t["parameters"]["properties"][miss]["description"]
        q = r.choice(["Please {} {} {}.", "Can you {} {} {}?"]).format(vn[0], "the" if r.random() < 0.5 else "a", vn[1])
        return conv(q, f"I need one more thing first: {desc[0].lower() + desc[1:]}. What should I use for {miss}?", f"The tool {t['name']} needs {miss}, but the user did not give it. I should ask.", thinking, tools=schemas)
    args, phrase = call_request(r, t, ps, vn)
    calls = [{"name": t["name"], "arguments": args}]
    if r.random() < 0.15:
        t2, ps2, vn2 = r.choice(tools)
        args2, ph2 = call_request(r, t2, ps2, vn2)
        calls.append({"name": t2["name"], "arguments": args2})
        phrase += ", and also " + ph2
    q = r.choice(["Please {}.", "Can you {}?", "{}", "I would like to {}.", "Could you {} for me?"]).format(phrase)
    think = f"The user wants to {vn[0]} {an(vn[1])}. The tool {t['name']} fits. " + " ".join(f"{k} is {json.dumps(v, ensure_ascii=False)}." for k, v in args.items())
    c = conv(cap(q), "" if r.random() < 0.7 else r.choice(["I will do that now.", "Let me check.", "One moment, please."]), think, thinking, tools=schemas, calls=calls)
    if r.random() < 0.6:
        kinds = [lambda: {"status": "ok", "id": code(r)}, lambda: {"result": code(r)}, lambda: {"status": "error", "reason": "not found"},
                 lambda: {"items": r.sample(THINGS, 2)}, lambda: {"value": r.randint(1, 500)}]
        for _ in calls:
            res = kinds[0]() if len(calls) > 1 else r.choice(kinds)()
            c["m"].append({"role": "tool", "content": json.dumps(res)})
        if len(calls) == 1:
            if "reason" in res:
                a = "I am sorry, that did not work: not found."
            elif "id" in res:
                a = f"Done. The reference is {res['id']}."
            elif "result" in res:
                a = f"The result is {res['result']}."
            elif "items" in res:
                a = f"I found {join(res['items'])}."
            else:
                a = f"The value is {res['value']}."
        else:
            a = r.choice(["Both requests are done.", "I have done both."])
        m = {"role": "assistant", "content": a}
        if thinking:
            m["reasoning"] = "The tool has answered. I tell the user the result."
        c["m"].append(m)
    return c
