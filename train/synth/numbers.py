"""Sums, word problems and comparisons, worked out step by step."""

from .words import FOODS, THINGS, conv, name


def add_steps(a, b):
    steps, carry = [], 0
    xs, ys = str(a)[::-1], str(b)[::-1]
    names = ["ones", "tens", "hundreds", "thousands"]
    for i in range(max(len(xs), len(ys))):
        x = int(xs[i]) if i < len(xs) else 0
        y = int(ys[i]) if i < len(ys) else 0
        s = x + y + carry
        steps.append(f"{names[i]}: {x} + {y}" + (f" + {carry}" if carry else "") + f" = {s}")
        carry = s // 10
    return "; ".join(steps) + f". So {a} + {b} = {a + b}."


def arithmetic(r):
    k = r.random()
    if k < 0.4:
        a, b = r.randint(1, 10 ** r.randint(1, 3)), r.randint(1, 10 ** r.randint(1, 3))
        q, v, th = f"{a} + {b}", a + b, add_steps(a, b)
    elif k < 0.65:
        a = r.randint(2, 10 ** r.randint(1, 3))
        b = r.randint(1, a)
        tens = b // 10 * 10
        th = f"{a} - {tens} = {a - tens}; {a - tens} - {b - tens} = {a - b}. So {a} - {b} = {a - b}." if tens else f"{a} - {b} = {a - b}."
        q, v = f"{a} - {b}", a - b
    elif k < 0.9:
        a, b = r.randint(2, r.choice([10, 12, 99])), r.randint(2, 12)
        t = a // 10 * 10
        th = f"{t} x {b} = {t * b}; {a - t} x {b} = {(a - t) * b}; {t * b} + {(a - t) * b} = {a * b}. So {a} x {b} = {a * b}." if t and a > t else f"{a} x {b} = {a * b}."
        q, v = f"{a} {r.choice(['x', '*', 'times'])} {b}", a * b
    else:
        b, v = r.randint(2, 12), r.randint(1, 20)
        q, th = f"{b * v} divided by {b}", f"{b} x {v} = {b * v}, so {b * v} divided by {b} is {v}."
    ask = r.choice(["What is {}?", "Calculate {}.", "{} = ?", "How much is {}?", "Please compute {}.", "Can you work out {}?"]).format(q)
    ans = r.choice([f"The answer is {v}.", f"{v}", f"{q} = {v}"] if "divided" not in q and "times" not in q else [f"The answer is {v}.", f"{v}"])
    if r.random() < 0.6:
        return conv(ask, ans, th, True)
    return conv(ask, (th + " The answer is " + str(v) + ".") if r.random() < 0.4 else ans)


def word_problem(r):
    n, m, t = name(r), name(r), r.choice(THINGS + FOODS)
    ts = t + ("es" if t.endswith(("x", "ch", "sh")) or t in ("potato", "tomato") else "s") if t not in ("bread", "soup", "rice", "honey", "cheese", "salad") else "coins"
    a, b, c = r.randint(3, 40), r.randint(2, 20), r.randint(2, 9)
    k = r.randrange(6)
    if k == 0:
        q, th, v = f"{n} has {a} {ts}. {m} gives {n} {b} more. How many {ts} does {n} have now?", f"{n} starts with {a} and gets {b} more: {a} + {b} = {a + b}.", a + b
    elif k == 1:
        a = a + b
        q, th, v = f"{n} had {a} {ts} and gave {b} of them to {m}. How many {ts} are left?", f"{n} had {a} and gave away {b}: {a} - {b} = {a - b}.", a - b
    elif k == 2:
        q, th, v = f"There are {c} boxes with {b} {ts} in each box. How many {ts} are there in total?", f"{c} boxes times {b} {ts}: {c} x {b} = {c * b}.", c * b
    elif k == 3:
        q, th, v = f"{n} buys {c} {ts} for {b} coins each and pays with {c * b + a} coins. How many coins does {n} get back?", f"The {ts} cost {c} x {b} = {c * b} coins. {n} pays {c * b + a}, so {c * b + a} - {c * b} = {a} coins come back.", a
    elif k == 4:
        q, th, v = f"{n} has {a} {ts}. {m} has {b} more than {n}. How many {ts} do they have together?", f"{m} has {a} + {b} = {a + b}. Together they have {a} + {a + b} = {2 * a + b}.", 2 * a + b
    else:
        q, th, v = f"{c * b} {ts} are shared equally by {c} children. How many {ts} does each child get?", f"{c * b} divided by {c} is {b}, because {c} x {b} = {c * b}.", b
    t = r.random() < 0.6
    return conv(q, f"The answer is {v}." if t else th + f" The answer is {v}.", th, t)


def compare(r):
    xs = r.sample(range(1, 1000), r.randint(2, 6))
    k = r.randrange(4)
    s = ", ".join(map(str, xs))
    if k == 0:
        q, a = f"Which number is the largest: {s}?", f"The largest number is {max(xs)}."
        th = f"I compare {s}. The largest is {max(xs)}."
    elif k == 1:
        q, a = f"Which number is the smallest: {s}?", f"The smallest number is {min(xs)}."
        th = f"I compare {s}. The smallest is {min(xs)}."
    elif k == 2:
        o = ", ".join(map(str, sorted(xs)))
        q, a, th = f"Sort these numbers from small to large: {s}", o, f"The smallest is {min(xs)} and the largest is {max(xs)}. In order: {o}."
    else:
        x = xs[0]
        q, a, th = f"Is {x} even or odd?", f"{x} is {'odd' if x % 2 else 'even'}.", f"The last digit of {x} is {x % 10}, which is {'odd' if x % 2 else 'even'}."
    return conv(q, a, th, r.random() < 0.4)
