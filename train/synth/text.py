"""Handling words and sentences: spelling, sorting, counting, lists of a kind."""

import json

from .words import ANIMALS, CITIES, CODEWORDS, COLORS, DAYS, DEPTS, FIRST, FOODS, HOBBIES, JOBS, MONTHS, PLACES, THINGS, TRAITS, an, cap, code, conv, join, name


def sentence(r):
    n, m = name(r), name(r)
    return r.choice([
        f"{n} found {an(r.choice(COLORS))} {r.choice(THINGS)} in the {r.choice(PLACES)}.",
        f"The {r.choice(TRAITS)} {r.choice(ANIMALS)} slept near the {r.choice(PLACES)} all {r.choice(['morning', 'afternoon', 'night', 'day'])}.",
        f"On {r.choice(DAYS)}, {n} and {m} went to {r.choice(CITIES)} by {r.choice(['train', 'bus', 'car', 'plane'])}.",
        f"{n} is {an(r.choice(JOBS))} who likes {r.choice(HOBBIES)}.",
        f"{m} bought {r.randint(2, 30)} {r.choice(['apples', 'pears', 'books', 'cups', 'chairs', 'lamps'])} at the market.",
        f"The meeting in room {r.randint(1, 40)} starts at {r.randint(8, 17)}:{r.choice(['00', '15', '30', '45'])}.",
        f"The {r.choice(THINGS)} on the table belongs to {n}.",
        f"In {r.choice(MONTHS)}, the {r.choice(PLACES)} is full of {r.choice(COLORS)} flowers.",
        f"{n} told {m} that the {r.choice(ANIMALS)} had eaten the {r.choice(FOODS)}.",
        f"The {r.choice(DEPTS)} team sent {r.randint(2, 90)} letters to {r.choice(CITIES)} last week.",
        f"It was {r.choice(['cold', 'warm', 'windy', 'rainy', 'sunny', 'foggy'])} in {r.choice(CITIES)} on {r.choice(DAYS)}.",
    ])


def string_task(r):
    ws = r.sample(ANIMALS + THINGS + FOODS + COLORS, r.randint(2, 7))
    w = r.choice(CODEWORDS)
    s = sentence(r)
    k = r.randrange(10)
    lst = ", ".join(ws)
    if k == 0:
        q, a = f"Repeat this exactly: {s}", s
    elif k == 1:
        q, a = f"Sort these words in alphabetical order: {lst}", ", ".join(sorted(ws))
    elif k == 2:
        q, a = f"Reverse the order of this list: {lst}", ", ".join(ws[::-1])
    elif k == 3:
        q, a = f"How many items are in this list: {lst}?", f"There are {len(ws)} items in the list."
    elif k == 4:
        q, a = f"Write this in capital letters: {s}", s.upper()
    elif k == 5:
        q, a = f"Spell the word '{w}' with dashes between the letters.", "-".join(w)
    elif k == 6:
        q, a = f"Make a bulleted list of these words: {lst}", "\n".join("- " + x for x in ws)
    elif k == 7:
        q, a = f"Make a numbered list: {lst}", "\n".join(f"{i}. {x}" for i, x in enumerate(ws, 1))
    elif k == 8:
        x = r.choice(ws)
        q, a = f"What is item number {ws.index(x) + 1} in this list? {lst}", x
    else:
        c = code(r)
        q, a = f"Copy this code: {c}", c
    if r.random() < 0.2:
        return conv(q, a, "I follow the instruction step by step and give only the result.", True)
    return conv(q, a)


def kinds_list(r):
    kind, xs = r.choice([("animals", ANIMALS), ("colors", COLORS), ("fruits and foods", FOODS), ("hobbies", HOBBIES), ("jobs", JOBS), ("days of the week", DAYS),
                         ("months", MONTHS), ("cities", CITIES), ("things you can find in a house", THINGS), ("first names", FIRST)])
    n = r.randint(2, 6)
    ys = r.sample(xs, n)
    word = ["two", "three", "four", "five", "six"][n - 2]
    q = r.choice([f"Name {word} {kind}.", f"Give me {n} {kind}.", f"List {word} {kind}.", f"Can you tell me {word} {kind}?"])
    k = r.random()
    if k < 0.3:
        return conv(q + " Use a bulleted list.", "\n".join("- " + cap(y) for y in ys))
    if k < 0.5:
        return conv(q + " Answer as a JSON array.", json.dumps(ys))
    return conv(q, r.choice([f"Here are {word} {kind}: {join(ys)}.", f"{cap(join(ys))}."]))
