"""Short stories and questions about them."""

from .words import ANIMALS, COLORS, FIRST, FOODS, PLACES, THINGS, TRAITS, an, cap, conv, name


def story(r):
    n, f = name(r), name(r)
    a, t, p, tr = r.choice(ANIMALS), r.choice(THINGS), r.choice(PLACES), r.choice(TRAITS)
    col, food = r.choice(COLORS), r.choice(FOODS)
    he = r.choice(["he", "she"])
    him, his = {"he": ("him", "his"), "she": ("her", "her")}[he]
    start = r.choice([f"Once upon a time, there was {an(tr)} {a} named {n}.", f"{n} was {an(tr)} {a} who lived near the {p}.", f"One day, {an(tr)} {a} called {n} went to the {p}."])
    want = r.choice([f"{n} had {an(col)} {t}, and {he} loved it very much.", f"{n} wanted to find {an(col)} {t}.", f"Every morning {n} played with {his} {col} {t}."])
    trouble = r.choice([f"But one day the {t} was gone. {n} looked under the bed, behind the door and in the {r.choice(PLACES)}, but it was not there.",
                        f"Then it began to rain, and {n} had no place to hide. {cap(he)} felt cold and a little afraid.",
                        f"On the way, {n} fell into a hole and could not get out. \"Help!\" {he} called.",
                        f"But a big {r.choice(ANIMALS)} stood in the way and said, \"You may not pass.\""])
    friend = r.choice([f"Then {n} met {f}, {an(r.choice(TRAITS))} {r.choice(ANIMALS)}. \"Why are you sad?\" asked {f}. \"Let me help you.\"",
                       f"{n}'s friend {f} heard {him} and came at once. \"Do not worry,\" said {f}. \"We can do it together.\""])
    fix = r.choice(["They worked together, and soon everything was fine.", f"{f} had a good idea. They tried it, and it worked!", f"Together they looked again, and at last they found what they needed."])
    end = r.choice([f"{n} was so happy that {he} shared {his} {food} with {f}. From that day on they were best friends.", f"\"Thank you,\" said {n}. They ate {food} and laughed until the sun went down.",
                    f"{n} learned that a good friend is worth more than any {t}.", f"{n} went home with a smile, and everybody was glad."])
    text = " ".join([start, want, trouble, friend, fix, end])
    ask = r.choice([f"Tell me a story about {an(a)}.", f"Tell me a short story about {an(a)} named {n}.", f"Write a story with {an(a)} and {an(t)}.", "Tell me a story.", f"Can you write a short story about {an(tr)} {a}?", f"Write a story about {n} and {f}."])
    return conv(ask, text, f"The user wants a short story. I will write about {n} the {a}, give {him} a small problem and a happy end.", r.random() < 0.15)


def story_question(r):
    c = story(r)
    text = c["m"][-1]["content"]
    n = next(x for x in FIRST if x in text.replace(".", " ").replace(",", " ").split())
    a = next((x for x in ANIMALS if f" {x} " in text.replace(".", " ")), "animal")
    return conv(f"{text}\n\nWhich animal is mentioned first in this story?", cap(a) + ".") if r.random() < 0.5 and text.find(a) == min(text.find(x) for x in ANIMALS if x in text) else \
        conv(f"{text}\n\nRepeat the first sentence of the story.", text.split(". ")[0] + ".")
