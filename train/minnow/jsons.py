"""JSON: extraction from a text, and objects by schema whose values make sense."""

import json

from conversation import A, C, U, maybe_system, think
from knowledge import ANIMALS, COUNTRIES, ELEMENTS, LANDMARKS, WORKS
from synth import records
from synth.words import CITIES, CODEWORDS, DAYS, FOODS, HOBBIES, JOBS, THINGS, an, cap, full

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array"}
CITY = {"Paris": ("France", 2100000), "London": ("England", 8900000), "Rome": ("Italy", 2800000), "Berlin": ("Germany", 3700000), "Madrid": ("Spain", 3300000), "Tokyo": ("Japan", 14000000), "Vienna": ("Austria", 2000000), "Lisbon": ("Portugal", 550000), "New York": ("United States", 8300000), "Chicago": ("United States", 2700000),
        "Sydney": ("Australia", 5300000), "Cairo": ("Egypt", 10000000), "Moscow": ("Russia", 13000000), "Beijing": ("China", 21000000), "Shanghai": ("China", 24000000), "Mumbai": ("India", 12500000), "Istanbul": ("Turkey", 15500000), "Toronto": ("Canada", 2800000), "Oslo": ("Norway", 700000), "Prague": ("Czech Republic", 1300000),
        "Dublin": ("Ireland", 590000), "Athens": ("Greece", 660000), "Lima": ("Peru", 10000000), "Nairobi": ("Kenya", 4400000), "Seoul": ("South Korea", 9400000), "Hamburg": ("Germany", 1900000), "Munich": ("Germany", 1500000), "Barcelona": ("Spain", 1600000), "Milan": ("Italy", 1400000), "Amsterdam": ("Netherlands", 900000),
        "Warsaw": ("Poland", 1800000), "Budapest": ("Hungary", 1700000), "Stockholm": ("Sweden", 980000), "Copenhagen": ("Denmark", 650000), "Boston": ("United States", 650000), "Bangkok": ("Thailand", 10500000), "Delhi": ("India", 16800000), "Buenos Aires": ("Argentina", 3100000), "Mexico City": ("Mexico", 9200000), "Zurich": ("Switzerland", 430000)}
RECIPES = [("pancakes", ["flour", "milk", "eggs", "salt"], 20), ("tomato soup", ["tomatoes", "onion", "water", "salt"], 30), ("omelette", ["eggs", "butter", "salt"], 10), ("fruit salad", ["apple", "banana", "orange"], 10), ("pizza", ["flour", "yeast", "tomatoes", "cheese"], 60), ("apple pie", ["apples", "flour", "butter", "sugar"], 75), ("rice with vegetables", ["rice", "carrots", "peas"], 25),
           ("lemonade", ["lemons", "water", "sugar"], 5), ("mashed potatoes", ["potatoes", "milk", "butter"], 30), ("green salad", ["lettuce", "cucumber", "oil", "vinegar"], 10), ("banana bread", ["bananas", "flour", "eggs", "sugar"], 70), ("spaghetti with tomato sauce", ["spaghetti", "tomatoes", "garlic"], 25)]
GOOD = ["I love this {t}, it works perfectly.", "Great {t}! Fast delivery and good quality.", "Best {t} I ever had.", "The {t} is wonderful and I use it every day.", "Very happy with the {t}.", "Excellent {t}, highly recommended."]
BAD = ["The {t} broke after two days.", "Terrible {t}, I want my money back.", "I am very disappointed with the {t}.", "The {t} is too expensive and does not work.", "Bad quality. The {t} arrived damaged.", "Never again. The {t} is useless."]
WHERE = {  # places and works, with what people say of them
    "hotel": (["The bed was comfortable and the breakfast was great.", "Friendly people at the reception, and a quiet room.", "Wonderful view, we will come back.", "Everything was clean and the service was perfect."], ["The room smelled and nobody answered the phone.", "It was noisy all night and the shower was broken.", "The staff was unfriendly and the bathroom was filthy.", "We found hair in the bed and left after one night."]),
    "restaurant": (["The soup was delicious and the waiter was very kind.", "Best pasta in town!", "Fresh food, fair prices, quick service."], ["The food was cold and we waited an hour.", "Rude waiter and a dirty table.", "The fish was old and far too expensive."]),
    "film": (["A touching story with great actors.", "I laughed from start to end.", "The best film of the year."], ["Boring, I fell asleep.", "A stupid story and bad actors.", "Two hours of my life wasted."]),
    "book": (["I could not put it down.", "Beautifully written and full of ideas.", "A great book, I will read it again."], ["Dull and far too long.", "The plot makes no sense at all.", "I gave up after fifty pages."]),
    "app": (["Easy to use and really fast.", "It saves me an hour every day.", "Great update, everything works."], ["It crashes all the time.", "Full of ads and very slow.", "I lost all my data. Terrible."]),
    "course": (["The teacher explained everything well.", "I learned a lot and had fun."], ["The teacher was late and unprepared.", "A waste of money, I learned nothing."]),
    "shop": (["Helpful staff and a big choice.", "Fast delivery and honest advice."], ["The staff ignored me and the line was endless.", "They sent the wrong size twice and were rude."]),
}
SOSO = ["The {t} is okay.", "The {t} does what it should, nothing more.", "An average {t}.", "The {t} is neither good nor bad."]


def schema_of(x):
    out = {}
    for k, v in x.items():
        out[k] = {"type": TYPES[type(v)]}
        if isinstance(v, list):
            out[k]["items"] = schema_of(v[0]) if v and isinstance(v[0], dict) else {"type": TYPES[type(v[0])] if v else "string"}
        if isinstance(v, dict):
            out[k] = schema_of(v)
    return {"type": "object", "properties": out, "required": list(x)}


TYPES[dict] = "object"


def city(r):
    c = r.choice(sorted(CITY))
    x = {r.choice(["name", "city"]): c, "country": CITY[c][0], r.choice(["population", "inhabitants"]): CITY[c][1]}
    return r.choice([f"Describe {c}.", f"Give me data about {c}.", f"Tell me about the city {c}.", f"{c}", f"Facts about {c}, please."]), x


def nation(r):
    c, capital, continent, language, money = r.choice(COUNTRIES)
    x = {"country": c.removeprefix("the "), "capital": capital, "continent": continent, "language": language, "currency": money}
    keep = ["country", *r.sample(["capital", "continent", "language", "currency"], r.randint(1, 4))]
    if "capital" not in keep and r.random() < 0.8:
        keep.insert(1, "capital")
    return r.choice([f"Describe {c}.", f"Give me information about {c}.", f"Tell me about {c}.", f"Facts about {c}."]), {k: x[k] for k in keep}


def creature(r):
    a, kind, young, home, food, legs = r.choice(ANIMALS)
    x = {"class": kind, "legs": int(legs), "food": food, "habitat": home.removeprefix("the "), "young": young, "can_fly": kind == "bird" and a not in ("penguin", "ostrich", "chicken") or a in ("bat", "bee", "butterfly")}
    return r.choice([f"Describe the {a}.", f"Tell me about {an(a)}.", f"Data about the {a}, please.", f"Classify: {a}"]), {r.choice(["name", "animal"]): a} | {k: x[k] for k in r.sample(sorted(x), r.randint(2, 4))}


def book(r):
    w, kind, author, year = r.choice([x for x in WORKS if x[3]])
    made = "artist" if kind == "painting" else "composer" if kind in ("opera", "music", "ballet", "symphony") else "author"
    return r.choice([f"Describe {w}.", f"Give me the data of the {kind} {w}.", f"Who made {w}, and when?"]), {"title": w, made: author, "year": int(year)}


def chemical(r):
    e, s, n = r.choice(ELEMENTS)
    return r.choice([f"Describe the element {e}.", f"Data about {e}.", f"Give me the symbol and number of {e}."]), {r.choice(["name", "element"]): e, "symbol": s, r.choice(["atomic_number", "number"]): int(n)}


def sight(r):
    x, c, n = r.choice(LANDMARKS)
    return r.choice([f"Where is {x}?", f"Describe {x}."]), {"name": cap(x.removeprefix("the ")), "city": c, "country": n.removeprefix("the ")}


def recipe(r):
    n, xs, m = r.choice(RECIPES)
    x = {r.choice(["name", "dish", "title"]): n, "ingredients": xs}
    if r.random() < 0.6:
        x["minutes"] = m
    return r.choice([f"Give me a recipe for {n}.", f"How do I make {n}?", f"Recipe: {n}", f"What do I need for {n}?"]), x


def review(r):
    t = r.choice(THINGS + ["phone", "camera", "laptop", "hotel room", "jacket"])
    label, texts, stars = r.choice([("positive", GOOD, (4, 5)), ("negative", BAD, (1, 2)), ("neutral", SOSO, (3, 3))])
    text = r.choice(texts).format(t=t)
    x = {"sentiment": label}
    if r.random() < 0.5:
        x[r.choice(["rating", "stars"])] = r.randint(*stars)
    if r.random() < 0.4:
        x["product"] = t
    return r.choice([f"Classify this review: {text}", f"What is the sentiment of this text?\n\n{text}", f"Rate this review.\n{text}", f"Analyze: {text}"]), x


def opinion(r):
    """A review of a place or a work: label and booleans that follow from it."""
    what = r.choice(sorted(WHERE))
    good, bad = WHERE[what]
    label, text = r.choice([("positive", r.choice(good)), ("negative", r.choice(bad))])
    yes = label == "positive"
    who = {"hotel": "guest", "restaurant": "guest", "film": "viewer", "book": "reader"}.get(what, "customer")
    x = {r.choice(["sentiment", "sentiment", "label", "mood"]): label}
    k = r.random()
    if k < 0.6:
        x[r.choice(["recommend", "would_recommend", "happy", "satisfied", "liked_it", "come_back"])] = yes
    elif k < 0.8:
        x[r.choice(["angry", "complaint", "problem", "disappointed"])] = not yes
    else:
        x[r.choice(["stars", "rating"])] = r.randint(4, 5) if yes else r.randint(1, 2)
    return r.choice([f"Classify this {what} review: '{text}'", f"Classify this review of a {what}: {text}", f"A {who} writes: {text}", f"Is this {what} review good or bad? \"{text}\"", f"Analyze what the {who} says.\n\n{text}", f"{what.capitalize()} review: {text}"]), x


def person(r):
    make, say = r.choice(records.RECORDS)
    x = make(r)
    text = say(r, x)
    keep = {k: x[k] for k in sorted(r.sample(sorted(x), r.randint(2, min(4, len(x)))), key=list(x).index)}
    return r.choice(["", "Extract the data.\n\n", "Read this text.\n\n", "Answer in JSON.\n\n", "Extract the information: "]) + text, keep


def sentence(r):
    """Short everyday sentences with two or three facts."""
    n, a, c, j, d, h, t = full(r), r.randint(6, 90), r.choice(CITIES), r.choice(JOBS), r.choice(DAYS), r.randint(8, 20), r.choice(THINGS)
    cents, yes = r.randint(0, 60) * r.choice([1, 1, 4]) + r.choice([0.5, 0.25, 0.75, 0.99, 0.95, 0.9, 0.2, 0.4, 0.8, 0.49]), r.random() < 0.5
    p, q, e = r.choice([3, 5, 8, 12, 15, 20, 35, 50, 99]), r.randint(2, 12), r.choice([f"{n.split()[0].lower()}@example.com", f"{n.lower().replace(' ', '.')}@{r.choice(CODEWORDS)}.org", f"{n[0].lower()}.{n.split()[1].lower()}@{r.choice(CODEWORDS)}-{r.choice(CODEWORDS)}.com", f"info@{r.choice(CODEWORDS)}.example", f"{r.choice(CODEWORDS)}{a}@mail.net"])
    return r.choice([
        (f"{n}, {a}, lives in {c} and works as {an(j)}.", {"name": n, "age": a, "city": c}), (f"My name is {n}, I am {a} years old and I live in {c}.", {"name": n, "age": a, "city": c}), (f"{n} is {an(j)} in {c}.", {"name": n, "job": j, "city": c}), (f"Contact: {n}, {e}, {c}.", {"name": n, "email": e, "city": c}),
        (f"The {t} costs {cents} euros.", {"item": t, "price": cents}), (f"One {t} for {cents:.2f} euros, {'in stock' if yes else 'sold out'}.", {"item": t, "price": cents, "in_stock": yes}), (f"{n} {'has paid' if yes else 'has not paid yet'}, amount {cents} euros.", {"name": n, "amount": cents, "paid": yes}),
        (f"{n} {'will come' if yes else 'cannot come'} on {d}.", {"name": n, "day": d, "coming": yes}), (f"Write to {n} at {e} about the {t}.", {"name": n, "email": e, "topic": t}), (f"{n} ({e}) asks whether the {t} is {'available' if yes else 'broken'}.", {"name": n, "email": e, "item": t}),
        (f"The restaurant in {c} is {'open' if yes else 'closed'} on {d} and has {q} tables.", {"city": c, "open": yes, "tables": q}), (f"The dish is {'vegetarian' if yes else 'made with meat'} and costs {cents} euros.", {"vegetarian": yes, "price": cents}), (f"Please book a table for {q} people on {d} at {h}:00 under the name {n}.", {"name": n, "people": q, "day": d, "time": f"{h}:00"}), (f"Meeting with {n} on {d} at {h}:00 in {c}.", {"person": n, "day": d, "time": f"{h}:00", "city": c}),
        (f"I bought {q} {t}s for {p} euros each in {c}.", {"item": t, "quantity": q, "price": p}), (f"{q} {t}s, {cents:.2f} euros a piece, to {c}.", {"item": t, "quantity": q, "price": cents, "city": c}), (f"We need {q} {t}s. One costs {cents:.2f} dollars.", {"item": t, "quantity": q, "price": cents}), (f"{n} ordered {q} {t}s at {cents:.2f} pounds each.", {"customer": n, "item": t, "quantity": q, "price": cents}), (f"Sold: {q} {t}s, price {cents:.2f}, buyer {n}.", {"item": t, "quantity": q, "price": cents, "buyer": n}), (f"{n} was born in {c} in {1940 + a // 2}.", {"name": n, "city": c, "year": 1940 + a // 2}), (f"Flight from {c} leaves on {d} at {h}:30, gate {q}.", {"from": c, "day": d, "time": f"{h}:30", "gate": q}), (f"{n} likes {(x := r.choice(HOBBIES))} and {(y := r.choice(FOODS))}.", {"name": n, "likes": [x, y]}),
        (f"Invoice 2{q}{a}: {p} euros, due on {d}, customer {n}.", {"customer": n, "amount": p, "due": d}), (f"Order of {n}: {q} {t}s, delivery to {c} on {d}.", {"customer": n, "item": t, "quantity": q, "city": c, "day": d}),
    ])


WHETHER = {"recommend": "Whether the writer recommends it", "would_recommend": "True if others should go there", "happy": "Whether the customer is happy", "satisfied": "Whether the customer is satisfied", "liked_it": "Whether the writer liked it", "come_back": "Whether the customer will come back", "angry": "Whether the customer is angry", "complaint": "Whether this is a complaint",
           "problem": "Whether there was a problem", "disappointed": "Whether the writer is disappointed", "in_stock": "Whether it can be bought now", "paid": "Whether the bill is paid", "coming": "Whether the person comes", "open": "Whether it is open", "can_fly": "Whether the animal can fly"}
ENUMS = {"sentiment": ["positive", "negative", "neutral"], "label": ["negative", "positive"], "mood": ["positive", "neutral", "negative"], "class": ["mammal", "bird", "reptile", "amphibian", "fish", "insect", "arachnid", "mollusc"], "continent": ["Europe", "Asia", "Africa", "Oceania", "North America", "South America"]}


def jsons(r):
    k = r.random()
    if k < 0.5:  # by a schema, which the product puts behind the system prompt
        q, x = r.choice([city, nation, nation, nation, nation, nation, creature, book, chemical, sight, recipe, review, opinion, opinion, opinion, person, person, sentence, sentence, sentence])(r)
        schema = schema_of(x)
        for key, values in ENUMS.items():
            if key in x and r.random() < 0.6:
                schema["properties"][key]["enum"] = values
        for key in x:
            if key in WHETHER and r.random() < 0.5:
                schema["properties"][key]["description"] = WHETHER[key]
        if r.random() < 0.4:
            schema["additionalProperties"] = False
        c = C(maybe_system(r, 0.3) + [U(q), A(json.dumps(x, ensure_ascii=False))])
        c["schema"] = {"type": "json_schema", "json_schema": {"name": r.choice(["answer", "record", "data", "result", "object", "output"]), "schema": schema} | r.choice([{}, {"strict": True}])}
        return think(c, "I fill in the fields: " + "; ".join(f"{k}: {v}" for k, v in x.items()) + ".", r, 0.05)
    if k < 0.85:  # by words
        if r.random() < 0.5:
            s, x = sentence(r)
            keys = list(x) if r.random() < 0.6 else r.sample(list(x), r.randint(1, len(x)))
            x = {y: x[y] for y in keys}
            ks = ", ".join(keys[:-1]) + " and " + keys[-1] if len(keys) > 1 else keys[0]
            ask = r.choice(["Extract {k} as JSON: ", "Extract {k} as JSON.\n\n", "Return a JSON object with {k}.\n\n", "Answer with JSON only. Keys: {k}.\n", "Give me {k} from this sentence as JSON: ", "Turn this into JSON with the keys {k}: ", "JSON with {k}, please. Text: "]).format(k=ks)
            return C(maybe_system(r, 0.3) + [U(ask + s), A(json.dumps(x, ensure_ascii=False))])
        q, x = r.choice([city, nation, nation, creature, book, chemical, recipe, review, opinion])(r)
        return C(maybe_system(r, 0.3) + [U(f"{q} {r.choice(['Answer as JSON with the keys', 'Reply in JSON. Keys:', 'Give me a JSON object with'])} {', '.join(x)}."), A(json.dumps(x, ensure_ascii=False))])
    c = r.choice([records.json_extract, records.json_list, records.json_write])(r)
    while "schema" in c and "null" in c["m"][-1]["content"]:  # a value that is not of the schema's type
        c = records.json_extract(r)
    if c.get("schema", {}).get("type") == "json_object":
        del c["schema"]  # the product adds nothing to the prompt for it
    return c
