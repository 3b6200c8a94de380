"""Checks of answers: what a correct answer of any wording has, and an unrelated one has not.

An answer is {"content", "reasoning", "calls": [{"name", "arguments"}], "finish"}. A prompt of
prompts.jsonl is {"id", "kind", "request", "checks"}; each check is an object with one of the names
of CHECKS as its only key. `failures(prompt, answer)` returns the reasons why an answer does not
pass, and an empty list if it passes.

Words are compared without case, and as whole words; `stem*` also accepts any ending. Number words
count as digits. A list of alternatives in place of a word accepts any of them.
"""

import json
import re

from . import code_check

CONTROL = re.compile(r"<｜|｜>|｜DSML｜|</?think>|<\|im_|<\|endoftext")
BULLET = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")
DATE = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|tomorrow|today|tonight|next week|\d+ (?:january|february|march|april|may|june|july|august|september|october|november|december)|(?:january|february|march|april|may|june|july|august|september|october|november|december) \d+"

UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
VALUE = {w: i for i, w in enumerate(UNITS)} | {w: 20 + 10 * i for i, w in enumerate(TENS)}
NUMBER_WORD = re.compile(rf"\b(?:(?P<tens>{'|'.join(TENS)})(?:[- ](?P<unit>{'|'.join(UNITS[1:10])}))?|(?P<small>{'|'.join(UNITS)}))\b", re.I)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


# ------------------------------------------------------------------ text

def plain(text):
    """Text in a form in which wordings can be compared: digits for numbers, plain quotes, no
    emphasis, no 1,000s commas."""
    text = str(text).translate(str.maketrans("’‘“”\u00a0\u202f", "''\"\"  "))
    text = re.sub(r"\*\*|__|`", "", text)
    text = NUMBER_WORD.sub(lambda m: str(VALUE[m["small"].lower()] if m["small"] else VALUE[m["tens"].lower()] + VALUE[(m["unit"] or "zero").lower()]), text)
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)


def occurs(word, text):
    """Whether one word or phrase occurs in a text that `plain` returned."""
    pattern = r"\s+".join(re.escape(x) for x in plain(word.rstrip("*")).split())
    end = "" if word.endswith("*") else r"(?![^\W_]|\.\d)"
    return re.search(rf"(?<![^\W_])(?<!\d\.){pattern}{end}", text, re.I) is not None


def occurs_any(group, text):
    return any(occurs(w, text) for w in ([group] if isinstance(group, str) else group))


def numbers(text):
    return [float(x) for x in NUMBER.findall(plain(text))]


def bullets(text):
    """The list items of an answer, and its other lines; indented lines belong to the item above
    them."""
    items, others = [], []
    for line in text.splitlines():
        if BULLET.match(line):
            items.append(BULLET.sub("", line).strip())
        elif items and line.startswith(("  ", "\t")) and line.strip():
            items[-1] += " " + line.strip()
        elif line.strip():
            others.append((len(items), line.strip()))
    return items, others


def said_to(prompt):
    """Everything that the model has read: messages and tool results."""
    return " ".join(str(m.get("content") or "") + json.dumps(m.get("tool_calls") or "") for m in prompt["request"]["messages"])


def repeats(text):
    """Whether a text has fallen into repetition: a line of three words three times, a sequence of
    one to twelve words four times in a row (ten times for one word), letters eight times in a row,
    or less than half of its sequences of four words being different ones."""
    lines = [x.strip().lower() for x in text.splitlines() if len(x.split()) >= 3]
    if any(lines.count(x) >= 3 for x in set(lines)) or re.search(r"([^\s\-=_.#*|])\1{15}|(?=\S*\w)(\S{2,20}?)\2{7}", text):
        return True
    words = text.lower().split()
    for size in range(1, 13):
        run = 0
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            if run >= size * (3 if size > 1 else 9):
                return True
    fours = [tuple(words[i: i + 4]) for i in range(len(words) - 3)]
    return len(fours) >= 40 and len(set(fours)) < len(fours) / 2


# ------------------------------------------------------------------ checks: (argument, answer, prompt) -> reason or None

def check_has(groups, a, _):
    lacking = [g for g in groups if not occurs_any(g, plain(a["content"]))]
    return f"lacks {lacking}" if lacking else None


def check_lacks(words, a, _):
    found = [w for w in words if occurs(w, plain(a["content"]))]
    return f"contains {found}" if found else None


def check_matches(pattern, a, _):
    return None if re.search(pattern, plain(a["content"]), re.I) else f"does not match {pattern}"


def check_not_matches(pattern, a, _):
    found = re.search(pattern, plain(a["content"]), re.I)
    return f"contains {found[0]!r}" if found else None


def check_any(checks, a, prompt):
    reasons = [run(c, a, prompt) for c in checks]
    return None if None in reasons else " and ".join(reasons)


def check_words(limits, a, _):
    n = len(a["content"].split())
    return None if limits[0] <= n <= limits[1] else f"has {n} words, wanted {limits[0]} to {limits[1]}"


def check_ends(text, a, _):
    strip = lambda x: re.sub(r"\W+", " ", plain(x).lower()).strip()
    return None if strip(a["content"]).endswith(strip(text)) else f"does not end with {text!r}"


def check_starts(text, a, _):
    strip = lambda x: re.sub(r"\W+", " ", plain(x).lower()).strip()
    return None if strip(a["content"]).startswith(strip(text)) else f"does not start with {text!r}"


def check_upper(_, a, __):
    return None if a["content"] == a["content"].upper() and re.search("[A-Z]", a["content"]) else "is not in capital letters"


def check_grounded(_, a, prompt):
    """Every number of the answer (list numbers apart) occurs in what the model has read."""
    given = set(numbers(said_to(prompt)))
    text = "\n".join(BULLET.sub("", line) for line in a["content"].splitlines())
    invented = [x for x in numbers(text) if x not in given]
    return f"invents the numbers {invented}" if invented else None


def check_bullets(spec, a, _):
    """Exactly `n` items, with at most a line before and after them. Each is about one of the
    `points` (lists of words that a point needs), at least `n` points are covered, and words that
    stand `apart` in the source do not meet in one item."""
    items, others = bullets(a["content"])
    if len(items) != spec["n"]:
        return f"has {len(items)} list items, wanted {spec['n']}"
    if spec["n"] == 0:
        return None
    before, after = sum(at == 0 for at, _ in others), sum(at == len(items) for at, _ in others)
    if before > 1 or after > 1 or before + after < len(others):
        return "has text between or around the list items"
    covered = set()
    for item in map(plain, items):
        about = {i for i, point in enumerate(spec["points"]) if all(occurs_any(g, item) for g in point)}
        if not about:
            return f"{item!r} is none of the points"
        for x, y in spec.get("apart", []):
            if occurs(x, item) and occurs(y, item):
                return f"{item!r} mixes {x} and {y}"
        covered |= about
    return None if len(covered) >= spec["n"] else f"covers {len(covered)} points of {spec['n']}"


def action_lines(text):
    """Lines of an answer with tasks. A line that ends with a colon is put before the lines that
    follow it."""
    heading, out = "", []
    for line in text.splitlines():
        line = line.strip()
        if line.endswith(":") or line.endswith(":**"):
            heading = line
        elif line:
            body = BULLET.sub("", line)
            out += [f"{heading} {x}" for x in (re.split(r"(?<=[.;])\s+(?=[A-Z])", body) if body == line else [body])]
    return out


def check_actions(tasks, a, _):
    """One line for each task with its day, on which its owner is the first one named. A task without a
    day gets none, and no task is added."""
    about = lambda task, line: all(occurs_any(g, line) for g in task["task"])
    lines = [plain(x) for x in action_lines(a["content"])]
    for t in tasks:
        mine = [x for x in lines if about(t, x)]
        if len(mine) != 1:
            return f"has {len(mine)} lines for the task of {t['owner']}"
        owners = sorted((o["owner"] for o in tasks if occurs(o["owner"], mine[0])), key=lambda o: mine[0].lower().index(o.lower()))
        if owners[:1] != [t["owner"]]:
            return f"gives the task of {t['owner']} to {owners}"
        if t["due"] and not occurs_any(t["due"], mine[0]):
            return f"lacks the day {t['due'][0]} of {t['owner']}"
        days = [d for d in re.findall(DATE, mine[0], re.I) if not t["due"] or not occurs_any(t["due"], d)]
        if days:
            return f"gives {t['owner']} the day {days}"
    heading = lambda item: len(item.split()) <= 3 and any(occurs(t["owner"], item) for t in tasks)
    added = [i for i in map(plain, bullets(a["content"])[0]) if not heading(i) and not any(about(t, i) for t in tasks)]
    return f"adds {added}" if added else None


def fits(value, wanted):
    """Whether a value of JSON or of a tool call is one of the wanted ones."""
    if isinstance(wanted, dict):
        if "between" in wanted:
            low, high = wanted["between"]
            return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
        return isinstance(value, list) and len(value) == len(wanted["all"]) and all(any(fits(v, [w] if isinstance(w, str) else w) for v in value) for w in wanted["all"])
    for w in wanted:
        if isinstance(w, bool) or isinstance(value, bool):
            if value is w:
                return True
        elif isinstance(w, (int, float)):
            if (isinstance(value, (int, float)) and abs(value - w) < 1e-6) or (isinstance(value, str) and numbers(value) == [w]):
                return True
        elif isinstance(value, str) and occurs(w, plain(value)) and len(value.split()) <= len(w.split()) + 3:
            return True
    return False


def check_json(wanted, a, _):
    try:
        value = json.loads(re.sub(r"^```(?:json)?\s*|\s*```$", "", a["content"].strip()))
    except ValueError as e:
        return f"is not JSON: {e}"
    if not isinstance(value, dict) or set(value) != set(wanted):
        return f"has the keys {sorted(value) if isinstance(value, dict) else type(value).__name__}, wanted {sorted(wanted)}"
    wrong = {k: value[k] for k in wanted if not fits(value[k], wanted[k])}
    return f"has the values {wrong}" if wrong else None


def check_call(wanted, a, _):
    if len(a["calls"]) != 1 or a["calls"][0]["name"] != wanted["name"]:
        return f"calls {[c['name'] for c in a['calls']]}, wanted {wanted['name']}"
    given, optional = a["calls"][0]["arguments"], wanted.get("optional", {})
    lacking = set(wanted["arguments"]) - set(given)
    unknown = set(given) - set(wanted["arguments"]) - set(optional)
    if lacking or unknown:
        return f"lacks the arguments {sorted(lacking)}, adds {sorted(unknown)}"
    wrong = {k: v for k, v in given.items() if not fits(v, (wanted["arguments"] | optional)[k])}
    return f"has the arguments {wrong}" if wrong else None


def check_no_call(_, a, __):
    return f"calls {a['calls'][0]['name']}" if a["calls"] else None


def check_reasoning(limits, a, prompt):
    """The thinking before the answer; sources without thinking have `reasoning` None, and it is not
    asked of them."""
    if a["reasoning"] is None and a.get("no_thinking"):
        return None
    text = a["reasoning"] or ""
    n = len(text.split())
    if not limits[0] <= n <= limits[1]:
        return f"thinks {n} words, wanted {limits[0]} to {limits[1]}"
    return "repeats itself while it thinks" if repeats(text) else None


def check_number(wanted, a, prompt):
    """The result is the last number of the answer, or its only number that is not in the
    question."""
    found, given = numbers(a["content"]), set(numbers(said_to(prompt)))
    if not found:
        return "has no number"
    new = {x for x in found if x not in given} | ({wanted} & set(found))
    return None if found[-1] == wanted or new == {wanted} else f"ends in {found[-1]:g}, wanted {wanted:g}"


def check_list(spec, a, _):
    """A list of `n` = [least, most] items which are all different."""
    items, _ = bullets(a["content"])
    if len(items) < 2:
        items = [x for x in re.split(r",|\band\b|\n", a["content"].split(":", 1)[-1]) if x.strip()]
    first = [re.split(r"[:(–]| - ", re.sub(r"[*_]", "", x))[0].strip(" .").lower() for x in items]
    if not spec["n"][0] <= len(first) <= spec["n"][1]:
        return f"has {len(first)} items, wanted {spec['n'][0]} to {spec['n'][1]}"
    return None if len(set(first)) == len(first) else f"repeats {sorted({x for x in first if first.count(x) > 1})}"


def check_code(spec, a, _):
    return code_check.failure(spec, a["content"])


CHECKS = {name.removeprefix("check_"): f for name, f in list(globals().items()) if name.startswith("check_")}


def run(check, answer, prompt):
    (name, argument), = check.items()
    return CHECKS[name](argument, answer, prompt)


def failures(prompt, answer):
    """Reasons why an answer does not pass. Every answer has to end by itself, to be free of control
    tokens, and not to repeat itself."""
    if answer.get("error"):
        return [f"error: {answer['error']}"]
    answer = answer | {"content": answer["content"] or ""}
    out = []
    if answer["finish"] not in ("stop", "tool_calls"):
        out.append(f"does not end (finish_reason {answer['finish']})")
    if not answer["content"].strip() and not answer["calls"]:
        out.append("is empty")
    if CONTROL.search(answer["content"] + (answer["reasoning"] or "")):
        out.append("contains a control token")
    if repeats(answer["content"]):
        out.append("repeats itself")
    return out + [reason for c in prompt["checks"] if (reason := run(c, answer, prompt))]
