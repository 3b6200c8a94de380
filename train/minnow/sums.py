"""Sums, comparisons and word problems, with and without thinking; the thinking is short and ends in the result."""

from conversation import A, C, S, U, maybe_system, think
from synth import numbers
from synth.words import FIRST, cap, name


def split_add(a, b):
    """Tens first, then ones, which are added alone before: the way of thinking that a small model can follow."""
    if b < 10 < a and a % 10 and b:
        carried = f" {a - a % 10} + {a % 10 + b} = {a + b}," if a % 10 + b > 9 else ""
        return f"{a % 10} + {b} = {a % 10 + b},{carried} so {a} + {b} = {a + b}."
    if b < 10 or a < 10 or b % 10 == 0:
        return f"{a} + {b} = {a + b}."
    t = b // 10 * 10 if b < 100 else b // 100 * 100
    rest = b - t
    return f"{a} + {t} = {a + t}. " + split_add(a + t, rest)


def split_sub(a, b):
    if b < 10 < a and b:
        x = a % 10 if a % 10 >= b else a % 10 + 10
        borrowed = f" {a - x} + {x - b} = {a - b}," if a % 10 < b else ""
        return f"{x} - {b} = {x - b},{borrowed} so {a} - {b} = {a - b}." if x != a else f"{a} - {b} = {a - b}."
    if b < 10 or b % 10 == 0:
        return f"{a} - {b} = {a - b}."
    t = b // 10 * 10 if b < 100 else b // 100 * 100
    return f"{a} - {t} = {a - t}. " + split_sub(a - t, b - t)


def split_mul(a, b):
    t = a // 10 * 10
    return f"{a} x {b} = {a * b}." if a <= 12 or not t or a == t else f"{t} x {b} = {t * b}. {a - t} x {b} = {(a - t) * b}. {t * b} + {(a - t) * b} = {a * b}."


ASK = ["What is {}?", "What is {}?", "What is {}?", "{}", "{} =", "{} = ?", "Calculate {}.", "How much is {}?", "what's {}", "What's {}?", "Please compute {}.", "Can you work out {}?", "Solve {}.", "Tell me {}.", "I need {}.", "What does {} make?"]


def sum_(r, p=0.5):
    """One sum of two numbers."""
    op = r.choice("++++---xxx/")
    big = r.random() < 0.2
    if op == "x":
        a, b = (r.randint(2, 12), r.randint(2, 12)) if not big else (r.randint(11, 99), r.randint(2, 9))
        v, show, th = a * b, f"{a} x {b}", split_mul(a, b)
        sign = r.choice([f"{a} x {b}", f"{a} * {b}", f"{a} times {b}", f"{a} multiplied by {b}"])
    elif op == "/":
        b, v = r.randint(2, 12), r.randint(2, 12)
        a = b * v
        show, th, sign = f"{a} / {b}", f"{b} x {v} = {a}, so {a} / {b} = {v}.", r.choice([f"{a} / {b}", f"{a} divided by {b}"])
    elif op == "+":
        a, b = (r.randint(2, 99), r.randint(2, 99)) if not big else (r.randint(100, 999), r.randint(10, 999))
        v, show, th, sign = a + b, f"{a} + {b}", split_add(a, b), r.choice([f"{a} + {b}", f"{a} + {b}", f"{a}+{b}", f"{a} plus {b}", f"the sum of {a} and {b}"])
    else:
        a, b = (r.randint(2, 99), r.randint(2, 99)) if not big else (r.randint(100, 999), r.randint(10, 999))
        a, b = max(a, b), min(a, b)
        v, show, th, sign = a - b, f"{a} - {b}", split_sub(a, b), r.choice([f"{a} - {b}", f"{a} - {b}", f"{a} minus {b}"])
    ask = r.choice(ASK).format(sign)
    answer = r.choice([f"{show} = {v}", f"{show} = {v}.", f"The answer is {v}.", f"{show} = {v}"])
    c = C(maybe_system(r, 0.25) + [U(cap(ask)), A(answer)])
    if r.random() < p:
        return think(c, th, r, 1)
    if big:
        c["m"][-1]["content"] = f"{th} The answer is {v}." if th.count("=") > 1 else answer
    return c


def chain(r):
    """Three or four numbers."""
    xs = [r.randint(1, 40) for _ in range(r.choice([3, 3, 4]))]
    t, steps = xs[0], []
    for x in xs[1:]:
        steps.append(f"{t} + {x} = {t + x}.")
        t += x
    q = " + ".join(map(str, xs))
    c = C(maybe_system(r, 0.2) + [U(r.choice(ASK[:8]).format(q)), A(r.choice([f"{q} = {t}", f"The answer is {t}."]))])
    if r.random() < 0.6:
        return think(c, " ".join(steps), r, 1)
    c["m"][-1]["content"] = " ".join(steps) + f" The answer is {t}."
    return c


GOODS = "marbles apples books coins stamps pencils cookies balloons stickers shells cards eggs flowers toys tickets oranges cups candies photos bottles".split()
STORY = [  # (text, sign): a and b are the numbers, or a, b and c
    ("{n} has {a} {g} and gives {b} to {m}. How many {g} does {n} have left?", "-"), ("{n} had {a} {g}. {n} lost {b} of them. How many {g} are left?", "-"), ("There are {a} {g} on the table. {n} takes {b} away. How many {g} remain?", "-"), ("{n} bought {a} {g} and ate {b}. How many are left?", "-"),
    ("A shop has {a} {g} and sells {b}. How many {g} are left in the shop?", "-"), ("{n} has {a} {g}. {m} has {b} fewer. How many {g} does {m} have?", "-"), ("{n} needs {a} {g} and already has {b}. How many {g} are missing?", "-"), ("A book has {a} pages. {n} has read {b} pages. How many pages are left?", "-"),
    ("There were {a} birds on a tree and {b} flew away. How many birds are still there?", "-"), ("{n} is {a} years old and {m} is {b}. How many years older is {n}?", "-"), ("A bus has {a} seats and {b} are taken. How many seats are free?", "-"), ("{n} has {a} euros and spends {b}. How much money is left?", "-"), ("I have {a} euros and pay {b} for a book. How much is left?", "-"), ("I had {a} {g} and gave {b} away. How many do I still have?", "-"), ("The tank holds {a} liters and {b} are used. How much remains?", "-"),
    ("{n} has {a} {g} and gets {b} more from {m}. How many {g} does {n} have now?", "+"), ("A group has {a} adults and {b} children. How many people are in the group?", "+"), ("A choir has {a} women and {b} men. How many singers are there?", "+"), ("I paid {a} euros for shoes and {b} euros for a shirt. How much is that together?", "+"), ("{n} has {a} {g} and {m} has {b}. How many {g} do they have together?", "+"), ("There are {a} boys and {b} girls in a class. How many children are there?", "+"), ("{n} read {a} pages yesterday and {b} pages today. How many pages is that in total?", "+"),
    ("A train has {a} passengers and {b} more get on. How many passengers are on the train?", "+"), ("{n} drove {a} km in the morning and {b} km in the afternoon. How far did {n} drive?", "+"), ("A coat costs {a} euros and a hat costs {b} euros. How much do they cost together?", "+"), ("{m} has {a} {g}. {n} has {b} more than {m}. How many does {n} have?", "+"),
    ("{n} saved {a} euros in May and {b} euros in June. How much is that?", "+"), ("There are {a} red and {b} blue {g} in a box. How many {g} are in the box?", "+"), ("There are {c} boxes with {d} {g} each. How many {g} are there?", "x"), ("{n} buys {c} {g} for {d} euros each. How much does {n} pay?", "x"),
    ("{n} runs {d} km every day. How many km does {n} run in {c} days?", "x"), ("A table has {c} rows with {d} chairs each. How many chairs are there?", "x"), ("One ticket costs {d} euros. How much do {c} tickets cost?", "x"), ("A week has 7 days. How many days are in {c} weeks?", "7"), ("{n} works {d} hours a day. How many hours is that in {c} days?", "x"),
    ("{e} {g} are shared equally by {c} children. How many {g} does each child get?", "/"), ("{n} puts {e} {g} into {c} bags, the same number in each. How many {g} are in one bag?", "/"), ("{c} friends share {e} euros equally. How much does each get?", "/"), ("A rope of {e} meters is cut into {c} equal parts. How long is each part?", "/"),
]


def problem(r):
    """A word problem of one step."""
    text, sign = r.choice(STORY)
    a, b, c, d = r.randint(8, 60), r.randint(2, 30), r.randint(2, 9), r.randint(2, 12)
    a, b = (max(a, b) + (a == b), min(a, b)) if sign == "-" else (a, b)
    n, m = r.sample(FIRST, 2)
    g = r.choice(GOODS)
    q = text.format(n=n, m=m, g=g, a=a, b=b, c=c, d=d, e=c * d)
    th, v = {"-": (f"{a} - {b} = {a - b}.", a - b), "+": (f"{a} + {b} = {a + b}.", a + b), "x": (f"{c} x {d} = {c * d}.", c * d), "7": (f"{c} x 7 = {7 * c}.", 7 * c), "/": (f"{c * d} / {c} = {d}.", d)}[sign]
    x = C(maybe_system(r, 0.2) + [U(q), A(r.choice([f"The answer is {v}.", f"{th} The answer is {v}.", th]))])
    th = split_add(a, b) if sign == "+" else split_sub(a, b) if sign == "-" else th
    return think(x, r.choice([th, th, f"{dict(zip('-+x7/', ['I subtract', 'I add', 'I multiply', 'I multiply', 'I divide']))[sign]}: {th}"]), r, 0.6)


def tables(r):
    """A row of the multiplication table, or single questions of it."""
    if r.random() < 0.4:
        a, n = r.randint(2, 12), r.choice([5, 8, 10])
        q = r.choice([f"Write the multiplication table of {a} up to {n}.", f"Give me the {a} times table up to {n}.", f"List the first {n} multiples of {a} as products."])
        return C([U(q), A("\n".join(f"{i} x {a} = {i * a}" for i in range(1, n + 1)))])
    m = []
    for _ in range(r.choice([2, 3, 4])):
        a, b = r.randint(2, 12), r.randint(2, 12)
        m += [U(r.choice(ASK[:8] + ["And {}?"]).format(r.choice([f"{a} x {b}", f"{a} times {b}"]))), A(f"{a} x {b} = {a * b}")]
    return C(m)


def practice(r):
    """Several sums at once, each with its steps."""
    rows = []
    for _ in range(r.randint(4, 8)):
        a, b = r.randint(11, 89), r.randint(3, 69)
        a, b = max(a, b), min(a, b)
        c, d = r.randint(2, 12), r.randint(2, 12)
        rows.append(r.choice([(f"{a} + {b}", split_add(a, b), a + b)] * 3 + [(f"{a} - {b}", split_sub(a, b), a - b)] * 3 + [(f"{c} x {d}", split_mul(c, d), c * d)] * 3))
    q = r.choice(["Solve these: {}", "Calculate {}.", "What are {}?", "Please work out {}", "Do these sums: {}"]).format(", ".join(x for x, _, _ in rows))
    if r.random() < 0.5:
        return think(C([U(q), A("\n".join(f"{x} = {v}" for x, _, v in rows))]), " ".join(s for _, s, _ in rows), r, 1)
    return C([U(q + r.choice(["", " Show the steps."])), A("\n".join(s for _, s, _ in rows))])


def comparison(r):
    a, b = r.sample(range(1, 200), 2)
    big, small = max(a, b), min(a, b)
    q, v = r.choice([(f"Which is larger, {a} or {b}?", f"{big} is larger than {small}."), (f"Which number is smaller: {a} or {b}?", f"{small} is smaller than {big}."), (f"Is {a} greater than {b}?", f"{'Yes' if a > b else 'No'}, {a} is {'greater' if a > b else 'smaller'} than {b}."),
                     (f"Is {a} even or odd?", f"{a} is {'odd' if a % 2 else 'even'}."), (f"What comes after {a}?", f"{a + 1} comes after {a}."), (f"What is double {b}?", f"Double {b} is {2 * b}."), (f"What is half of {2 * b}?", f"Half of {2 * b} is {b}."), (f"What is 10 percent of {10 * b}?", f"10 percent of {10 * b} is {b}."),
                     (f"Round {a * 10 + b % 10} to the nearest ten.", f"{(a * 10 + b % 10 + 5) // 10 * 10}.")])
    return C([U(q), A(v)])


def sums(r):
    """Any of these."""
    return r.choice([sum_] * 9 + [chain] + [problem] * 6 + [practice] * 6 + [tables] * 4 + [comparison, numbers.compare])(r)


def thought(r):
    """Always with thinking."""
    while True:
        c = sums(r)
        if c["thinking"]:
            return c
