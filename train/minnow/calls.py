"""Tools: calls with the right arguments, answers after results, questions that need no tool, and asking for what is missing."""

import json

from conversation import A, C, U, maybe_system
import knowledge
import sums
import talk
from synth import tools as synth_tools
from synth.words import CITIES, CODEWORDS, COLORS, DAYS, FIRST, MONTHS, THINGS, cap, code, full, join, name


def fn(name_, description, required="", **props):
    """A tool; a property is (type, description) or (type, description, enum)."""
    out = {}
    for k, v in props.items():
        out[k] = {"type": v[0], "description": v[1]} | ({"enum": v[2]} if len(v) > 2 else {}) | ({"items": {"type": "string"}} if v[0] == "array" else {})
    return {"name": name_, "description": description, "parameters": {"type": "object", "properties": out, "required": required.split()}}


def weather(r):
    c, d, u = r.choice(CITIES), r.choice(["today", "tomorrow", *DAYS]), r.choice(["celsius", "fahrenheit"])
    k, t, sky = r.randrange(4), r.randint(-5, 33), r.choice(["sunny", "cloudy", "rainy", "windy", "foggy", "clear"])
    key = r.choice(["city", "location", "place"])
    n = r.choice(["get_weather", "weather", "get_current_weather", "weather_lookup", "fetch_weather"])
    if k < 2:
        tool = fn(n, r.choice(["Get the current weather for a city.", "Get the weather.", "Current weather at a place."]), key, **{key: ("string", "Name of the city")})
        if r.random() < 0.5:  # the day may be left out, and is given only as the user says it
            tool["parameters"]["properties"]["day"] = {"type": "string", "description": r.choice(["Day of the forecast", "Which day, such as tomorrow or Friday", "Day, today if left out"])}
            when = r.choice(["today", "today", "tomorrow", r.choice(DAYS)])
            on = f"on {when}" if when in DAYS else when
            q = r.choice([f"How is the weather in {c} {on}?", f"Will it rain in {c} {on}?", f"Is it going to be warm in {c} {on}?", f"weather in {c} {on}?", f"Should I take a coat in {c} {on}?", f"I am in {c} {on}. Do I need sunglasses?", f"What will it be like in {c} {on}?"])
            return tool, q, {key: c, "day": when}, {"condition": sky, "temperature": t}, f"It will be {sky} in {c} {on}, with {t} degrees."
        return tool, r.choice([f"What is the weather in {c}?", f"How is the weather in {c} right now?", f"Is it warm in {c}?", f"What's the weather like in {c}?", f"Weather in {c}?", f"Do I need an umbrella in {c}?", f"How cold is it in {c} right now?", f"Is it raining in {c}?", f"Do I need a jacket in {c} today?", f"what is the weather like in {c}", f"Can I have a picnic in {c} this afternoon?", f"I am going to {c}. Do I need warm clothes?", f"Should we meet outside in {c}?"]), {key: c}, r.choice([{"temperature": t, "condition": sky}, {"temperature_c": t, "sky": sky}, {"temp": t, "description": sky}]), f"It is {sky} in {c}, with {t} degrees."
    if k == 2:
        tool = fn(n, "Get the weather forecast for a city and a day.", f"{key} day", **{key: ("string", "Name of the city")}, day=("string", "Day of the forecast"))
        return tool, r.choice([f"What will the weather be in {c} {'on ' if d in DAYS else ''}{d}?", f"Will it rain in {c} {'on ' if d in DAYS else ''}{d}?", f"Weather for {c}, {d}, please."]), {key: c, "day": d}, {"condition": sky, "max": t}, f"In {c} it will be {sky} {'on ' if d in DAYS else ''}{d}, with up to {t} degrees."
    tool = fn(n, "Get the current weather in a city.", f"{key} unit", **{key: ("string", "City name")}, unit=("string", "Unit of the temperature", ["celsius", "fahrenheit"]))
    return tool, r.choice([f"What is the temperature in {c} in {u}?", f"Tell me the weather in {c}, in {cap(u)}.", f"How warm is it in {c}? Use {u}."]), {key: c, "unit": u}, {"temperature": t, "unit": u}, f"It is {t} degrees {cap(u)} in {c}."


def clock(r):
    c, t = r.choice(CITIES), f"{r.randint(0, 23):02}:{r.choice(['05', '17', '30', '48'])}"
    return fn(r.choice(["get_time", "current_time", "world_clock"]), "Get the local time of a city.", "city", city=("string", "Name of the city")), r.choice([f"What time is it in {c}?", f"Tell me the time in {c}.", f"How late is it in {c} now?"]), {"city": c}, {"time": t}, f"It is {t} in {c}."


def search(r):
    x = r.choice(["good restaurants in " + r.choice(CITIES), "how to repair a bicycle", "history of " + r.choice(CITIES), "cheap train tickets", "recipe for apple pie", "best " + r.choice(THINGS) + " " + str(r.randint(2020, 2026)), r.choice(CODEWORDS) + " " + r.choice(CODEWORDS)])
    t = r.choice(CODEWORDS).title() + " " + r.choice(["Guide", "Review", "News", "Blog"])
    return fn(r.choice(["search_web", "web_search", "search"]), "Search the web.", "query", query=("string", "What to search for")), r.choice([f"Search the web for {x}.", f"Please look up {x}.", f"Find something about {x} on the web.", f"Search for {x}.", f"Google {x} for me."]), {"query": x}, {"results": [t]}, f"I found one result: {t}."


def calculate(r):
    a, b, o = r.randint(100, 9999), r.randint(12, 999), r.choice("+-*")
    v = {"+": a + b, "-": a - b, "*": a * b}[o]
    return fn(r.choice(["calculate", "calculator", "evaluate"]), "Evaluate an arithmetic expression.", "expression", expression=("string", "The expression")), r.choice([f"What is {a} {o} {b}?", f"Calculate {a} {o} {b}.", f"Compute {a} {o} {b} for me."]), {"expression": f"{a} {o} {b}"}, {"result": v}, f"{a} {o} {b} = {v}."


def email(r):
    n = name(r).lower() + "@" + r.choice(["example.com", "mail.org", r.choice(CODEWORDS) + ".com"])
    s, b = r.choice(["Meeting on Monday", "The report", "Lunch", "Holiday plans", "Invoice", "Question"]), r.choice(["See you at noon.", "Please call me.", "The report is ready.", "I will be late.", "Thank you for your help."])
    return fn(r.choice(["send_email", "send_mail", "email"]), "Send an email.", "to subject body", to=("string", "Address of the receiver"), subject=("string", "Subject line"), body=("string", "Text of the email")), r.choice([f"Send an email to {n} with the subject '{s}' and the text '{b}'", f"Write to {n}. Subject: {s}. Text: {b}", f"Please email {n}, subject \"{s}\", saying: {b}"]), {"to": n, "subject": s, "body": b}, {"status": "sent"}, f"The email to {n} has been sent."


def event(r):
    t, d, h = r.choice(["Dentist", "Team lunch", "Yoga", "Parents' evening", "Code review", "Piano lesson", "Budget meeting", "Call with " + name(r)]), r.choice(DAYS), r.randint(8, 20)
    return fn(r.choice(["create_event", "add_event", "calendar_add"]), "Add an event to the calendar.", "title day hour", title=("string", "Title"), day=("string", "Day of the week"), hour=("integer", "Hour from 0 to 23")), r.choice([f"Put '{t}' in my calendar for {d} at {h}.", f"Add {t} on {d} at {h} to the calendar.", f"Create an event called {t} on {d}, {h} o'clock.", f"I have {t} on {d} at {h}. Please add it."]), {"title": t, "day": d, "hour": h}, {"status": "ok"}, f"I added {t} on {d} at {h}."


CURRENCIES = {"EUR": "euros", "USD": "dollars", "GBP": "pounds", "JPY": "yen", "CHF": "francs", "SEK": "Swedish crowns", "INR": "rupees", "PLN": "zloty"}


def currency(r):
    a, (x, y) = r.randint(5, 500), r.sample(sorted(CURRENCIES), 2)
    v = round(a * r.choice([0.8, 1.1, 1.3, 12.5]), 2)
    f, t = r.choice([("source", "target"), ("from", "to"), ("from_currency", "to_currency")])
    p, q = (CURRENCIES[x], CURRENCIES[y]) if r.random() < 0.5 and (x, y) != ("USD", "EUR") else (x, y)  # by name or by code
    return fn(r.choice(["convert_currency", "exchange", "currency_converter"]), "Convert an amount of money.", f"amount {f} {t}", amount=("number", "Amount"), **{f: ("string", r.choice(["Currency code", "Code of the currency, such as NOK"])), t: ("string", r.choice(["Currency code", "Code of the currency, such as NOK"]))}), r.choice([f"How much is {a} {p} in {q}?", f"Convert {a} {p} to {q}.", f"What are {a} {p} worth in {q}?", f"How many {q} do I get for {a} {p}?", f"I have {a} {p}. What is that in {q}?", f"change {a} {p} into {q} please"]), {"amount": a, f: x, t: y}, {"amount": v, "currency": y}, f"{a} {x} is {v} {y}."


def transport(r):
    x, y = r.sample(CITIES, 2)
    n, d, kind = r.randint(1, 6), r.choice(["tomorrow", r.choice(DAYS), f"{r.randint(1, 28)} {r.choice(MONTHS)}", f"{r.choice(MONTHS)} {r.randint(1, 28)}"]), r.choice(["train", "flight", "bus", "ferry"])
    a, b = r.choice([("origin", "destination"), ("from", "to"), ("departure", "arrival")])
    k, price = r.random(), r.randint(20, 300)
    props, args = {a: ("string", "City of departure"), b: ("string", "City of arrival")}, {a: x, b: y}
    tail = ""
    if k < 0.35:
        key = r.choice(["seats", "passengers", "people"])
        props[key], args[key], tail = ("integer", "Number of people"), n, f" for {n} {'person' if n == 1 else 'people'}"
    elif k < 0.8:
        key = r.choice(["day", "date", "when"])
        props[key], args[key], tail = ("string", r.choice(["Day of travel", "When to travel, such as tomorrow or 17 May"])), d, f" {'on ' if d != 'tomorrow' else ''}{d}"
    return fn(r.choice([f"find_{kind}s", f"search_{kind}s", f"{kind}_search", f"find_{kind}"]), r.choice([f"Find a {kind} between two cities.", f"Search for {kind} tickets.", f"Search {kind} connections."]), " ".join(list(props)[: r.choice([2, 3])]), **props), r.choice([f"find me a {kind} from {x} to {y}{tail}", f"{x} to {y} by {kind}{tail}, what is there?", f"I have to get from {x} to {y}{tail}. Is there a {kind}?", f"Is there a {kind} from {x} to {y}{tail}?", f"Find a {kind} from {x} to {y}{tail}.", f"Search a {kind} from {x} to {y}{tail}, please.", f"I need a {kind} from {x} to {y}{tail}.", f"Which {kind} goes from {x} to {y}{tail}?"]), args, {"departure": f"{r.randint(6, 21)}:{r.choice(['05', '20', '45'])}", "price": price}, f"I found a {kind} from {x} to {y} for {price} euros."


def light(r):
    room, state, level = r.choice(["kitchen", "bedroom", "living room", "bathroom", "garage", "office", "hall"]), r.choice(["on", "off"]), r.randint(1, 10) * 10
    if r.random() < 0.5:
        return fn(r.choice(["set_light", "switch_light", "control_light"]), "Switch a light on or off.", "room state", room=("string", "Room"), state=("string", "New state", ["on", "off"])), r.choice([f"Turn {state} the light in the {room}.", f"Switch the {room} light {state}.", f"Light {state} in the {room}, please."]), {"room": room, "state": state}, {"ok": True}, f"The light in the {room} is now {state}."
    return fn("set_brightness", "Set the brightness of a lamp.", "room level", room=("string", "Room"), level=("integer", "Percent from 0 to 100")), r.choice([f"Set the {room} light to {level} percent.", f"Dim the light in the {room} to {level}%."]), {"room": room, "level": level}, {"ok": True}, f"The light in the {room} is at {level} percent."


def alarm(r):
    h, m = r.randint(5, 22), r.choice([0, 15, 30, 45])
    if r.random() < 0.5:
        return fn("set_alarm", "Set an alarm.", "hour minute", hour=("integer", "Hour"), minute=("integer", "Minute")), r.choice([f"Wake me at {h}:{m:02}.", f"Set an alarm for {h}:{m:02}."]), {"hour": h, "minute": m}, {"status": "set"}, f"The alarm is set for {h}:{m:02}."
    n = r.randint(2, 60)
    return fn(r.choice(["start_timer", "set_timer"]), "Start a timer.", "minutes", minutes=("integer", "Number of minutes")), r.choice([f"Set a timer for {n} minutes.", f"Start a timer of {n} minutes, please.", f"Remind me in {n} minutes."]), {"minutes": n}, {"status": "running"}, f"The timer runs for {n} minutes."


def order(r):
    xs = [{"item": i, "quantity": r.randint(1, 9)} for i in r.sample(THINGS, r.choice([1, 2]))]
    tool = fn("create_order", "Create an order.", "items", items=("array", "The items"))
    tool["parameters"]["properties"]["items"] = {"type": "array", "description": "The items", "items": {"type": "object", "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}}, "required": ["item", "quantity"]}}
    say = join([f"{x['quantity']} {x['item']}{'s' if x['quantity'] > 1 else ''}" for x in xs])
    no = code(r)
    return tool, r.choice([f"Order {say}.", f"I would like to order {say}.", f"Please create an order of {say}."]), {"items": xs}, {"order_id": no}, f"I have ordered {say}. The order number is {no}."


def contact(r):
    n, city, phone = full(r), r.choice(CITIES), f"+{r.randint(1, 99)} {r.randint(100, 999)} {r.randint(1000, 9999)}"
    if r.random() < 0.5:
        return fn(r.choice(["find_contact", "get_phone_number", "lookup_contact"]), "Look up the phone number of a person.", "name", name=("string", "Full name")), r.choice([f"What is the phone number of {n}?", f"Find the number of {n}.", f"I want to call {n}. What is the number?"]), {"name": n}, {"phone": phone}, f"The phone number of {n} is {phone}."
    tool = fn("add_contact", "Store a new contact.", "name address", name=("string", "Full name"))
    tool["parameters"]["properties"]["address"] = {"type": "object", "description": "The address", "properties": {"city": {"type": "string"}, "street": {"type": "string"}}, "required": ["city", "street"]}
    s = f"{r.choice(CODEWORDS).title()} Street {r.randint(1, 99)}"
    return tool, f"Save {n}, {s}, {city}, as a new contact.", {"name": n, "address": {"city": city, "street": s}}, {"status": "saved"}, f"I saved {n}, {s}, {city}."


def stock(r):
    n, x, v = code(r), r.choice(["open", "shipped", "delivered", "cancelled"]), r.randint(5, 500)
    k = r.randrange(3)
    if k == 0:
        key = r.choice(["order_id", "order", "id"])
        return fn(r.choice(["get_order", "order_status", "track_order"]), "Get the status of an order.", key, **{key: ("string", "Number of the order")}), r.choice([f"Where is my order {n}?", f"What is the status of order {n}?", f"Check order {n}."]), {key: n}, {"status": x}, f"The order {n} is {x}."
    if k == 1:
        c = r.choice(["AAPL", "MSFT", "NVDA", "SAP", "TSLA", "ORCL"])
        return fn(r.choice(["get_stock_price", "stock_price"]), "Get the price of a share.", "symbol", symbol=("string", "Ticker symbol")), r.choice([f"What is the price of {c}?", f"How much is one share of {c}?", f"Stock price of {c}?"]), {"symbol": c}, {"price": v, "currency": "USD"}, f"One share of {c} costs {v} USD."
    t = r.choice(THINGS)
    return fn(r.choice(["check_stock", "get_inventory"]), "How many pieces of an item are in stock.", "item", item=("string", "Name of the item")), r.choice([f"How many {t}s do we have in stock?", f"Is the {t} in stock?", f"Check the stock of the {t}."]), {"item": t}, {"count": v}, f"There are {v} of the item {t} in stock."


def translate_tool(r):
    p, lang = r.choice(["good morning", "thank you", "where is the station", "I am hungry", "see you tomorrow", "how much is it"]), r.choice(["French", "Spanish", "Japanese", "Polish", "Turkish"])
    return fn("translate", "Translate a text.", "text target_language", text=("string", "Text to translate"), target_language=("string", "Language")), f"Use the tool to translate '{p}' into {lang}.", {"text": p, "target_language": lang}, {"translation": (w := r.choice(CODEWORDS) + " " + r.choice(CODEWORDS))}, f"The translation is '{w}'."


def note(r):
    t, p = r.choice(["buy milk", "call the bank", "water the plants", "pay the rent", "return the book", "book the hotel"]), r.choice(["low", "medium", "high"])
    if r.random() < 0.5:
        return fn(r.choice(["add_task", "create_todo", "add_reminder"]), "Add a task to the list.", "text", text=("string", "The task")), r.choice([f"Add '{t}' to my list.", f"Put {t} on my to-do list.", f"Remind me to {t}."]), {"text": t}, {"status": "ok"}, f"I added '{t}' to the list."
    return fn("create_ticket", "Open a ticket.", "title priority", title=("string", "Title"), priority=("string", "Priority", ["low", "medium", "high"])), r.choice([f"Open a ticket '{t}' with {p} priority.", f"Create a {p} priority ticket: {t}."]), {"title": t, "priority": p}, {"id": (i := r.randint(100, 999))}, f"I opened ticket {i}."


def record(r):
    """A result with several values, of which one or two are asked for."""
    n, city, price, stars, free = r.choice(CODEWORDS).title(), r.choice(CITIES), r.randint(20, 400), r.randint(1, 5), r.randint(0, 30)
    x, y, p = r.choice(THINGS), r.choice(COLORS), full(r)
    number = f"{n[:2].upper()}{price}"
    tool, about, key, value, what, fields = r.choice([
        ("get_hotel", "Data of a hotel.", "name", f"Hotel {n}", f"the Hotel {n}", [("price", price, "a night costs {v} euros"), ("stars", stars, "it has {v} stars"), ("city", city, "it is in {v}"), ("free_rooms", free, "{v} rooms are free")]),
        ("get_product", "Data of a product.", "product", x, f"the {x}", [("price", price, "it costs {v} euros"), ("color", y, "it is {v}"), ("in_stock", free, "{v} pieces are in stock"), ("rating", stars, "it has a rating of {v}")]),
        ("get_employee", "Data of a person.", "name", p, p, [("department", r.choice(["sales", "support", "finance", "design"]), "the department is {v}"), ("office", city, "the office is in {v}"), ("phone", str(r.randint(1000, 9999)), "the phone number is {v}"), ("since", r.randint(2001, 2025), "the year of joining is {v}")]),
        ("get_flight", "Data of a flight.", "number", number, f"flight {number}", [("gate", f"{r.choice('ABC')}{stars}", "the gate is {v}"), ("departure", f"{r.randint(6, 22)}:{r.choice(['05', '25', '40'])}", "the departure is at {v}"), ("status", r.choice(["on time", "delayed", "cancelled"]), "the status is {v}"), ("destination", city, "the destination is {v}")]),
        ("track_parcel", "State of a parcel.", "parcel", number, f"parcel {number}", [("status", r.choice(["in transit", "delivered", "at the customs", "waiting for pickup"]), "the parcel is {v}"), ("arrives", r.choice(DAYS), "it arrives on {v}"), ("city", city, "it is in {v}"), ("weight_kg", stars, "it weighs {v} kg")]),
        ("get_team", "Results of a team.", "team", f"{n} United", f"{n} United", [("wins", free, "the team has {v} wins"), ("losses", stars, "it has {v} losses"), ("next_match", r.choice(DAYS), "the next match is on {v}"), ("coach", p, "the coach is {v}")]),
        ("get_book", "Data of a book.", "title", f"The {n}", f"the book The {n}", [("author", full(r), "the author is {v}"), ("year", r.randint(1900, 2025), "the year is {v}"), ("pages", price, "it has {v} pages")]),
    ])
    asked = r.sample(fields, r.choice([1, 2, 2, 3]))
    wh = {"price": "how much does it cost", "city": "where is it", "color": "which color does it have", "departure": "when does it leave", "gate": "from which gate", "arrives": "when does it arrive", "author": "who wrote it", "year": "from which year is it", "pages": "how many pages does it have", "next_match": "when is the next match", "coach": "who is the coach",
          "stars": "how many stars does it have", "free_rooms": "how many rooms are free", "in_stock": "how many are in stock", "rating": "how is it rated", "status": "what is its status", "wins": "how many wins are there", "losses": "how many losses are there", "weight_kg": "how heavy is it", "office": "where is the office", "phone": "what is the phone number"}
    if r.random() < 0.5 and all(k in wh for k, _, _ in asked):
        return fn(tool, about, key, **{key: ("string", "What to look up")}), r.choice(["About {w}: {f}?", "I have a question about {w}: {f}?", "{w}: {f}?"]).format(w=what, f=", and ".join(wh[k] for k, _, _ in asked)), {key: value}, {k: v for k, v, _ in fields}, cap(join([t.format(v=v) for _, v, t in asked])) + "."
    q = r.choice(["What is the {f} of {w}?", "Tell me the {f} of {w}.", "I need the {f} of {w}.", "Look up {w}: {f}?", "Please check {w}. I want to know the {f}."]).format(f=join([k.replace("_", " ") for k, _, _ in asked]), w=what)
    return fn(tool, about, key, **{key: ("string", "What to look up")}), q, {key: value}, {k: v for k, v, _ in fields}, cap(join([t.format(v=v) for _, v, t in asked])) + "."


def next_of(r):
    """When something comes next and where: two values of the result in one answer."""
    c, place, t = r.choice(CITIES), r.choice([r.randint(1, 24), f"{r.choice('ABCD')}{r.randint(1, 9)}"]), f"{r.randint(5, 23):02}:{r.choice(['08', '12', '27', '35', '49', '50'])}"
    kind, spot, says = r.choice([("bus", "stop", "from stop"), ("ferry", "pier", "from pier"), ("tram", "track", "from track"), ("flight", "gate", "from gate"), ("coach", "bay", "from bay")])
    key = r.choice(["destination", "to", "city"])
    tool = fn(f"next_{kind}", f"Find the next {kind} to a city.", key, **{key: ("string", "Where it goes")})
    result = {r.choice(["departure", "time", "leaves_at"]): t, spot: place} | r.choice([{}, {"minutes": r.randint(20, 300)}, {"price": r.randint(3, 90)}])
    return tool, r.choice([f"When does the next {kind} to {c} leave, and from which {spot}?", f"Next {kind} to {c}: time and {spot}?", f"I want to go to {c}. When is the next {kind} and which {spot} is it?", f"When is the next {kind} to {c}? And where does it leave?", f"which {kind} to {c} is next, and at what {spot}"]), {key: c}, result, r.choice([f"The next {kind} to {c} leaves at {t} {says} {place}.", f"It leaves at {t} {says} {place}."])


MAKERS = [record] * 4 + [next_of] * 2 + [weather] * 4 + [clock, search, search, calculate, email, event, event, currency, transport, transport, transport, light, light, alarm, order, contact, stock, stock, translate_tool, note, note]
FAILED = [({"error": "not found"}, "I am sorry, nothing was found."), ({"error": "timeout"}, "I am sorry, the tool did not answer in time. Please try again later."), ({"status": "error", "message": "service unavailable"}, "I am sorry, the service is not available at the moment.")]


NEAR = [  # questions with a word of a tool's field that need no tool
    ("What does a thermometer measure?", "A thermometer measures temperature."), ("What is the difference between weather and climate?", "Weather is what the air does now. Climate is the typical weather of a place over many years."), ("Which month comes after March?", "April comes after March."), ("How many hours are in three days?", "There are 72 hours in three days."),
    ("How many minutes are in two hours?", "There are 120 minutes in two hours."), ("How many cents are in a dollar?", "There are 100 cents in a dollar."), ("How many months have 31 days?", "Seven months have 31 days."), ("What is the currency of Japan?", "The currency of Japan is the yen."), ("Which countries use the euro?", "The euro is used in many countries of Europe, such as Germany, France, Italy and Spain."),
    ("What is an umbrella for?", "An umbrella protects you from rain."), ("Why do clouds form?", "Clouds form when damp air rises and cools, so that tiny drops of water appear."), ("What is a hotel?", "A hotel is a house in which travelers pay for a room and sleep."), ("Which is faster, a train or a bicycle?", "A train is faster than a bicycle."), ("Where do planes land?", "Planes land at airports."),
    ("What is the plural of child?", "The plural of child is children."), ("What is the plural of foot?", "The plural of foot is feet."), ("What is the plural of city?", "The plural of city is cities."), ("What is the plural of leaf?", "The plural of leaf is leaves."), ("What is the past tense of go?", "The past tense of go is went."), ("What is the past tense of write?", "The past tense of write is wrote."),
    ("How do you spell the number 8?", "The number 8 is spelled eight."), ("How many days are in two weeks?", "There are 14 days in two weeks."), ("How many weeks are in half a year?", "There are 26 weeks in half a year."), ("How many meters are in two kilometers?", "There are 2000 meters in two kilometers."), ("how many grams are in half a kilogram", "There are 500 grams in half a kilogram."), ("how many eggs are in a dozen", "There are 12 eggs in a dozen."),
    ("What day comes after Friday?", "Saturday comes after Friday."), ("what is the shortest month", "February is the shortest month."), ("Do I sleep better with a timer?", "A timer will not make you sleep better, but going to bed at the same time every day helps."), ("What is an email?", "An email is a letter that is sent from one computer to another."), ("What is a stock?", "A stock is a small part of the ownership of a company."),
    ("What is bigger, a kilometer or a mile?", "A mile is bigger than a kilometer."), ("At how many degrees does water boil?", "Water boils at 100 degrees Celsius."), ("How long does it take to boil an egg?", "A soft egg takes about 6 minutes and a hard one about 10."), ("What is the opposite of early?", "The opposite of early is late."), ("Who uses a calendar?", "People use a calendar to plan their days and appointments."),
    ("hello, good to see you", "Hello! How can I help you?"), ("Good morning, assistant!", "Good morning! How can I help you?"), ("hi there, how are you doing", "Hello! I am fine, thank you. How can I help you?"), ("Pleased to meet you.", "Nice to meet you too! What can I do for you?"), ("Hello! I am new here.", "Hello and welcome! How can I help you?"), ("thank you, that was all", "You are welcome!"), ("I just wanted to say hi.", "Hi! It is nice to hear from you. Can I help you with anything?"),
]


def no_call(r):
    """(question, answer, thought) that needs none of the tools."""
    if r.random() < 0.25:
        return *r.choice(NEAR), "No tool is needed for this."
    k = r.random()
    if k < 0.6:
        c = knowledge.facts(r) if k < 0.55 else knowledge.explain(r)
    elif k < 0.8:
        q, a = talk.small_talk(r) if r.random() < 0.75 else map(r.choice, r.choice(talk.IDENTITY[:8]))
        return q, a, "No tool is needed for this."
    elif k < 0.88:
        c = sums.sum_(r, 0)
    else:
        x, y = r.choice([("Write a short greeting for a birthday card.", "Happy birthday! I wish you a wonderful day."), ("Give me a word that rhymes with cat.", "Hat rhymes with cat."), ("Give me a word that rhymes with house.", "Mouse rhymes with house."), ("Is this sentence positive or negative: I love this place.", "It is positive."), ("Say thank you in French.", "Merci!"),
                         ("Correct this: He go home.", "He goes home."), ("What can you do with these tools?", "I can call the tools that are listed when you ask for something they can do."), ("Write the word 'river' backwards.", "revir"), ("Say thank you in German.", "Danke!"), ("Name three colors.", "Red, green and blue."), ("Give me a synonym for quick.", "Fast."), ("Tell me something nice.", "You are doing well, and I am glad that you are here.")])
        return x, y, "No tool is needed for this."
    m = [x for x in c["m"] if x["role"] != "system"]
    q = m[0]["content"]
    if "\n" not in q and r.random() < 0.35:
        q = q.lower().rstrip(".?!")
    return q, m[1]["content"], "No tool is needed for this question. I can answer it directly."


def tools(r):
    """Several turns with the same tools, so that their long description is paid once."""
    if r.random() < 0.12:
        return synth_tools.tool_call(r)
    made = [f(r) for f in r.sample(MAKERS, r.choice([1, 1, 2, 3, 4]))]
    made = list({m[0]["name"]: m for m in made}.values())
    thinking = r.random() < 0.2
    m = maybe_system(r, 0.4)
    for i in range(1 if thinking else r.choice([1, 2, 2, 3])):
        t, q, args, result, answer = made[i % len(made)]
        new = True
        if i >= len(made):  # the same tool with other arguments, where one is found
            more = [x for x in (again(r) for again in r.sample(MAKERS, len(MAKERS)) for _ in range(3)) if x[0] == t and x[2] != args]
            new = bool(more)
            t, q, args, result, answer = more[0] if more else made[0]
        k = r.random()
        if k < (0.5 if i == 0 else 0.4) or not new:
            q, a, th = no_call(r)
            m += [U(q), A(a) | ({"reasoning": th} if thinking else {})]
            continue
        if 0.5 <= k < 0.53:
            miss = t["parameters"]["required"][0]
            m += [U(f"I need the tool {t['name']}."), A(f"What should I use for {miss}?") | ({"reasoning": f"The user did not give {miss}."} if thinking else {})]
            continue
        call = A("") | {"tool_calls": [{"name": t["name"], "arguments": args}]}
        if thinking:
            call["reasoning"] = r.choice([f"I need {t['name']} for this.", f"The tool {t['name']} can do this."])
        m += [U(q), call]
        if r.random() < 0.7 or i < 1 and not thinking:
            if r.random() < 0.03:
                result, answer = r.choice(FAILED)
            elif r.random() < 0.4:
                result = args | result  # many tools repeat what they were asked
            m += [{"role": "tool", "content": json.dumps(result)}, A(answer) | ({"reasoning": "The tool has answered."} if thinking else {})]
        else:
            break
    schemas = [x[0] for x in made]
    r.shuffle(schemas)
    return C(m, f=schemas, thinking=thinking, short=r.random() < 0.4)
