"""Answers from what a tool returned: values copied as they are, yes or no with the reason, two values at once, nothing found; several turns share the tools."""

import json

from calls import fn, next_of, no_call
from conversation import A, C, U, maybe_system
from synth.words import CITIES, CODEWORDS, COLORS, DAYS, FOODS, MONTHS, THINGS, cap, code, full, join, name

TOWNS = CITIES + "Leeds Bristol Turin Lyon Ghent Basel Graz Malmo Bergamo Cork Galway Nantes Toulouse Bremen Dresden Valencia Malaga Sofia Tallinn Vilnius Rotterdam Antwerp Salzburg Innsbruck Trieste Bologna".split()
WET = ["light rain", "rain", "heavy showers", "showers", "drizzle", "thunderstorms", "rain and wind", "scattered showers"]
DRY = ["sunny", "clear sky", "dry and cloudy", "partly cloudy", "overcast but dry", "fog", "sunshine", "a few clouds"]
date = lambda r: r.choice([r.choice(DAYS), f"{r.randint(1, 28)} {r.choice(MONTHS)}", "tomorrow"])
clock = lambda r: f"{r.randint(6, 22):02}:{r.choice(['05', '10', '20', '25', '35', '40', '50', '55'])}"
cents = lambda r: round(r.choice([r.randint(1, 90), r.randint(100, 4000)]) + r.choice([0.5, 0.25, 0.99, 0.4, 0.75, 0.1, 0.61]), 2)
title = lambda r: f"The {r.choice(CODEWORDS).title()} {r.choice('House Road Letter Garden Island Winter Secret Mirror Bridge Song'.split())}"
place = lambda r: f"{r.choice(['Cafe', 'Museum', 'Restaurant', 'Cinema', 'Theater', 'Gallery'])} {r.choice(CODEWORDS).title()}"
number = lambda r: str(r.randint(1000, 99999))
yes = lambda r: r.random() < 0.5


class B:
    """Answers to a question of yes or no."""

    def __init__(self, true, false):
        self.text = {True: true, False: false}

    def format(self, v, **more):
        return self.text[v].format(v=v, **more)


# (names of the tool, description, parameters, subject, how it is named, fields); a field: (keys, value, whole questions, short question, answer)
LOOKUPS = [
    (["get_hotel", "hotel_info"], "Look up a hotel.", ["hotel", "name"], lambda r: f"Hotel {r.choice(CODEWORDS).title()}", "the {s}", [
        (["price", "price_per_night"], lambda r: r.randint(40, 400), ["How much is a night at {w}?", "What does a room at {w} cost?", "whats the price of {w}"], "how much is a night", "A night at {w} costs {v} euros."),
        (["rooms_free", "free_rooms"], lambda r: r.randint(1, 30), ["How many rooms are free at {w}?", "Does {w} have rooms left?"], "how many rooms are free", "{W} has {v} free rooms."),
        (["breakfast", "breakfast_included"], yes, ["Is breakfast included at {w}?", "Do I get breakfast at {w}?"], "is breakfast included", B("Yes, breakfast is included at {w}.", "No, breakfast is not included at {w}.")),
        (["check_in"], clock, ["From when can I check in at {w}?"], "from when can I check in", "You can check in from {v}.")]),
    (["washer_status", "laundry", "get_machine"], "State of a machine in the laundry room.", ["machine", "id"], lambda r: f"{r.choice(['washer', 'dryer'])} {r.randint(1, 9)}", "{s}", [
        (["state", "program"], lambda r: r.choice(["washing", "spinning", "finished", "empty", "out of order", "drying"]), ["What is {w} doing?", "What is the state of {w}?", "Can I use {w}?"], "what is its state", "{W} is {v}."),
        (["minutes_left", "remaining_minutes"], lambda r: r.randint(2, 95), ["How long does {w} still need?", "When is {w} ready?"], "how long does it still need", "{W} needs {v} more minutes."),
        (["door_open"], yes, ["Is the door of {w} open?"], "is its door open", B("Yes, the door of {w} is open.", "No, the door of {w} is closed."))]),
    (["rental_car", "get_car", "car_info"], "Look up a rental car.", ["plate", "car"], lambda r: f"{r.choice('ABKMT')}{r.choice('CDXZ')}-{r.randint(100, 999)}", "car {s}", [
        (["color"], lambda r: r.choice(COLORS), ["Which color does {w} have?"], "which color does it have", "{W} is {v}."),
        (["mileage", "km"], lambda r: r.randint(900, 90000), ["What is the mileage of {w}?", "How many km has {w} done?"], "what is its mileage", "{W} has done {v} km."),
        (["fuel_percent", "charge"], lambda r: r.randint(5, 100), ["How full is {w}?", "How much fuel is in {w}?"], "how full is it", "{W} is {v} percent full."),
        (["parked_at", "place"], lambda r: f"{r.choice(CODEWORDS).title()} Square {r.randint(1, 30)}", ["Where is {w} parked?", "Where do I find {w}?"], "where is it parked", "{W} is parked at {v}."),
        (["child_seat"], yes, ["Does {w} have a child seat?"], "does it have a child seat", B("Yes, {w} has a child seat.", "No, {w} has no child seat."))]),
    (["gym_class", "get_class", "class_info"], "Look up a class of the gym.", ["class_name", "name"], lambda r: r.choice(["Yoga", "Pilates", "Boxing", "Spinning", "Zumba", "Aqua fitness", "Judo", "Ballet"]) + r.choice(["", " for beginners", " 2", " in the evening"]), "{s}", [
        (["trainer", "teacher"], full, ["Who teaches {w}?", "Who is the trainer of {w}?"], "who is the trainer", "{w} is taught by {v}."),
        (["day"], lambda r: r.choice(DAYS), ["On which day is {w}?", "what day is {w}"], "on which day is it", "{w} is on {v}."),
        (["places_left", "free"], lambda r: r.randint(1, 25), ["How many places are left in {w}?", "Is there a place in {w}?"], "how many places are left", "There are {v} places left in {w}."),
        (["fee"], cents, ["What does {w} cost?"], "what does it cost", "{w} costs {v} euros."),
        (["outdoors"], yes, ["Is {w} outdoors?"], "is it outdoors", B("Yes, {w} is outdoors.", "No, {w} is indoors."))]),
    (["slope_status", "get_slope", "ski_info"], "State of a ski slope.", ["slope"], lambda r: f"slope {r.randint(1, 40)}", "{s}", [
        (["open"], yes, ["Is {w} open?", "Can I ski on {w}?"], "is it open", B("Yes, {w} is open.", "No, {w} is closed.")),
        (["snow_cm", "snow_depth"], lambda r: r.randint(5, 240), ["How much snow is on {w}?", "snow on {w}?"], "how much snow is there", "There are {v} cm of snow on {w}."),
        (["level", "difficulty"], lambda r: r.choice(["easy", "medium", "difficult"]), ["How difficult is {w}?"], "how difficult is it", "{W} is {v}.")]),
    (["printer_status", "get_printer"], "State of a printer.", ["printer", "name"], lambda r: f"{r.choice(CODEWORDS)}-{r.randint(1, 9)}", "printer {s}", [
        (["paper"], lambda r: r.randint(0, 500), ["How much paper is in {w}?"], "how much paper is in it", "{W} has {v} sheets of paper."),
        (["queue", "jobs"], lambda r: r.randint(0, 40), ["How many jobs wait at {w}?", "how long is the queue of {w}"], "how many jobs wait", "{v} jobs wait at {w}."),
        (["error"], lambda r: r.choice(["paper jam", "no toner", "cover open", "overheated"]), ["What is wrong with {w}?", "Why does {w} not print?"], "what is wrong", "The error of {w} is: {v}.")]),
    (["river_data", "get_river", "river_info"], "Look up a river.", ["river", "name"], lambda r: f"{r.choice(CODEWORDS).title()} River", "the {s}", [
        (["length_km", "length"], lambda r: r.randint(40, 3000), ["How long is {w}?", "What is the length of {w}?"], "how long is it", "{W} is {v} km long."),
        (["level_cm"], lambda r: r.randint(40, 600), ["How high is the water of {w}?"], "how high is the water", "The water of {w} is at {v} cm."),
        (["swimming_allowed"], yes, ["Can I swim in {w}?", "Is swimming allowed in {w}?"], "is swimming allowed", B("Yes, swimming is allowed in {w}.", "No, swimming is not allowed in {w}."))]),
    (["get_opening_hours", "opening_hours", "place_info"], "Opening hours of a place.", ["place", "name"], place, "{s}", [
        (["opens"], clock, ["When does {w} open?", "At what time does {w} open?"], "when does it open", "{w} opens at {v}."),
        (["closes"], clock, ["When does {w} close?", "How long is {w} open?", "until when is {w} open"], "when does it close", "{w} closes at {v}."),
        (["open_now", "open"], yes, ["Is {w} open now?", "Is {w} open?", "Can I go to {w} now?"], "is it open now", B("Yes, {w} is open.", "No, {w} is closed now.")),
        (["closed_on"], lambda r: r.choice(DAYS), ["On which day is {w} closed?"], "on which day is it closed", "{w} is closed on {v}.")]),
    (["get_product", "product_info", "check_product"], "Price and stock of a product.", ["product", "item"], lambda r: f"{r.choice(COLORS)} {r.choice(THINGS)}", "the {s}", [
        (["price", "price_eur"], cents, ["How much is {w}?", "What does {w} cost?", "price of {w}?"], "how much is it", "{W} costs {v} euros."),
        (["in_stock", "available"], yes, ["Is {w} in stock?", "Can I buy {w}?", "Do you have {w}?"], "is it in stock", B("Yes, {w} is in stock.", "No, {w} is not in stock.")),
        (["pieces", "count"], lambda r: r.randint(2, 90), ["How many pieces of {w} are left?"], "how many are left", "{v} pieces of {w} are left."),
        (["guarantee_years"], lambda r: r.randint(2, 10), ["How long is the guarantee of {w}?"], "how long is the guarantee", "{W} has a guarantee of {v} years.")]),
    (["flight_status", "get_flight"], "Status of a flight.", ["flight", "flight_number"], lambda r: f"{r.choice(['AZ', 'BK', 'LX', 'QT', 'SK'])}{r.randint(100, 999)}", "flight {s}", [
        (["gate"], lambda r: f"{r.choice('ABCD')}{r.randint(1, 30)}", ["Which gate is {w}?", "From which gate does {w} leave?"], "from which gate", "{W} leaves from gate {v}."),
        (["status"], lambda r: r.choice(["on time", "cancelled", "boarding", "delayed by 20 minutes", "delayed by 2 hours"]), ["Is {w} on time?", "How is {w}?", "What is the status of {w}?"], "is it on time", "{W} is {v}."),
        (["departs", "departure"], clock, ["When does {w} leave?", "When is {w}?", "departure of {w}?"], "when does it leave", "{W} leaves at {v}.")]),
    (["exchange_rate", "money_convert", "exchange"], "Convert money.", ["text", "sum"], lambda r: f"{r.randint(5, 900)} {r.choice(['yen', 'francs', 'crowns', 'pesos', 'rupees'])}", "{s}", [
        (["euros", "result", "value"], cents, ["What is {w} in euros?", "Convert {w} to euros.", "{w} in euros please"], "what is it in euros", "{W} are {v} euros.")]),
    (["get_contact", "find_person", "employee"], "Data of a colleague.", ["name", "person"], full, "{s}", [
        (["phone", "extension"], lambda r: str(r.randint(100, 9999)), ["What is the phone number of {w}?", "How can I call {w}?", "number of {w}?"], "what is the phone number", "The phone number of {w} is {v}."),
        (["room", "office"], lambda r: f"{r.choice('ABC')}{r.randint(100, 499)}", ["In which room is {w}?", "Where is the office of {w}?"], "in which room", "{w} is in room {v}."),
        (["department", "team"], lambda r: r.choice(["sales", "support", "finance", "design", "research"]), ["In which team is {w}?"], "in which team", "{w} works in {v}."),
        (["on_holiday", "absent"], yes, ["Is {w} on holiday?", "Is {w} away?"], "is the person away", B("Yes, {w} is away.", "No, {w} is not away."))]),
    (["match_result", "get_score"], "Result of a match.", ["team"], lambda r: f"{r.choice(TOWNS)} {r.choice(['United', 'City', 'Rovers'])}", "{s}", [
        (["score", "result"], lambda r: f"{r.randint(0, 5)}:{r.randint(0, 5)}", ["How did {w} play?", "What was the score of {w}?", "result of {w}?"], "what was the score", "The match of {w} ended {v}."),
        (["opponent"], lambda r: r.choice(TOWNS), ["Against whom did {w} play?"], "who was the opponent", "{w} played against {v}."),
        (["next_match", "next_game"], date, ["When does {w} play next?"], "when is the next match", "{w} plays next on {v}.")]),
    (["get_recipe", "recipe"], "Look up a recipe.", ["dish"], lambda r: f"{r.choice(FOODS)} with {r.choice(FOODS)}", "{s}", [
        (["minutes", "time"], lambda r: r.randint(5, 120), ["How long does {w} take?", "How many minutes do I need for {w}?"], "how many minutes does it take", "{W} takes {v} minutes."),
        (["ingredients"], lambda r: r.sample(FOODS, 3), ["What do I need for {w}?", "Which ingredients are in {w}?"], "what do I need", "For {w} you need {v}."),
        (["calories"], lambda r: r.randint(100, 900), ["How many calories does {w} have?"], "how many calories does it have", "{W} has {v} calories."),
        (["vegetarian"], yes, ["Is {w} vegetarian?"], "is it vegetarian", B("Yes, {w} is vegetarian.", "No, {w} is not vegetarian."))]),
    (["movie_times", "cinema_program", "get_film"], "When a film is shown.", ["film", "movie"], title, "{s}", [
        (["starts", "time"], clock, ["When does {w} start?", "At what time can I see {w}?"], "when does it start", "{w} starts at {v}."),
        (["hall", "screen"], lambda r: r.randint(1, 12), ["In which hall is {w}?"], "in which hall", "{w} is shown in hall {v}."),
        (["seats_left"], lambda r: r.randint(1, 120), ["How many seats are left for {w}?"], "how many seats are left", "There are {v} seats left for {w}."),
        (["sold_out"], yes, ["Is {w} sold out?"], "is it sold out", B("Yes, {w} is sold out.", "No, {w} is not sold out."))]),
    (["account_balance", "get_balance"], "Balance of an account.", ["account"], lambda r: r.choice(["savings", "checking", "travel", "household", "business"]), "the {s} account", [
        (["balance"], cents, ["How much money is on {w}?", "What is the balance of {w}?"], "what is the balance", "There are {v} euros on {w}."),
        (["last_payment"], date, ["When was the last payment from {w}?"], "when was the last payment", "The last payment from {w} was on {v}.")]),
    (["next_event", "calendar_find", "find_event"], "Find an event of the calendar.", ["title", "event"], lambda r: r.choice(["team meeting", "piano lesson", "haircut", "budget review", "yoga class", "parents' evening", "lunch with " + name(r), "call with " + name(r)]), "the {s}", [
        (["day", "date"], date, ["When is {w}?", "On which day is {w}?", "What day do I have {w}?"], "on which day", "{W} is on {v}."),
        (["time", "starts"], clock, ["At what time is {w}?"], "at what time", "{W} is at {v}."),
        (["place", "room"], lambda r: r.choice(["the canteen", "room 4", "room 12", "the main hall", "the gym", "the office of " + name(r)]), ["Where is {w}?"], "where is it", "{W} is in {v}.")]),
    (["check_order", "order_info"], "Look up an order.", ["order", "order_id"], code, "order {s}", [
        (["status"], lambda r: r.choice(["paid", "shipped", "not paid yet", "cancelled", "ready for pickup"]), ["What about {w}?", "What is the status of {w}?", "Has {w} been shipped?"], "what is its status", "{W} is {v}."),
        (["total", "amount"], cents, ["How much was {w}?", "What is the total of {w}?"], "what is the total", "The total of {w} is {v} euros."),
        (["items"], lambda r: r.sample(THINGS, 2), ["What is in {w}?"], "what is in it", "{W} contains {v}.")]),
    (["sensor", "read_sensor", "get_sensor"], "Read a sensor of the house.", ["room"], lambda r: r.choice(["kitchen", "bedroom", "cellar", "office", "greenhouse", "garage"]), "the {s}", [
        (["temperature", "temp_c"], lambda r: r.randint(4, 31), ["How warm is it in {w}?", "What is the temperature in {w}?"], "how warm is it", "It is {v} degrees in {w}."),
        (["humidity", "humidity_percent"], lambda r: r.randint(20, 90), ["What is the humidity in {w}?"], "what is the humidity", "The humidity in {w} is {v} percent."),
        (["window_open"], yes, ["Is the window open in {w}?"], "is the window open", B("Yes, the window in {w} is open.", "No, the window in {w} is closed."))]),
]


def say(v):
    return join([str(x) for x in v]) if isinstance(v, list) else str(v)


def lookup(r):
    """(tool, function that makes a turn): a tool that looks something up."""
    names, about, keys, subject, what, fields = r.choice(LOOKUPS)
    key = r.choice(keys)
    tool = fn(r.choice(names), about, key, **{key: ("string", r.choice(["What to look up", "Name", about.rstrip(".")]))})
    fields = [(r.choice(k), *rest) for k, *rest in fields]

    def turn(r):
        s = subject(r)
        w = what.format(s=s)
        asked = r.sample(fields, 2 if len(fields) > 1 and r.random() < 0.45 else 1)
        values = {f[0]: f[1](r) for f in fields if f in asked or r.random() < 0.6}
        q = r.choice(asked[0][2]).format(w=w)
        if len(asked) > 1:
            q = r.choice(["{a}, and {b}?", "{a}? And {b}?", "{a} and {b}?"]).format(a=q.rstrip("?. "), b=asked[1][3])
        if r.random() < 0.3:
            q = q.lower().rstrip("?") if s.lower() == s or s.isdigit() else q[0].lower() + q[1:].rstrip("?")
        a = " ".join(cap(f[4].format(v=values[f[0]] if isinstance(f[4], B) else say(values[f[0]]), w=w, W=cap(w)).replace("on tomorrow", "tomorrow").replace("next tomorrow", "again tomorrow")) for f in asked)
        result = list(values.items())
        r.shuffle(result)
        return cap(q) if r.random() < 0.5 else q, {key: s}, ({key: s} if r.random() < 0.5 else {}) | dict(result), a
    return tool, turn


def forecast(r):
    """A tool for the weather; the day is optional in most."""
    key, day = r.choice(["city", "place", "location", "town"]), r.choice(["day", "date", "when"])
    optional = r.random() < 0.7
    tool = fn(r.choice(["get_weather", "weather_forecast", "weather", "forecast", "check_weather"]), r.choice(["Get the weather of a place.", "Weather forecast for a city.", "Current weather and forecast."]), key, **{key: ("string", "Name of the city")}, **({day: ("string", r.choice(["Day of the forecast", "Which day, such as tomorrow", "Day, for example Friday"]))} if optional else {}))
    temp, sky = r.choice([("temperature", "condition"), ("temperature_c", "sky"), ("temp", "weather"), ("max_temp", "summary"), ("degrees", "description")])

    def turn(r):
        c, d = r.choice(TOWNS), r.choice(["", "", " today", " tomorrow", f" on {r.choice(DAYS)}"])
        wet, t = r.random() < 0.5, r.randint(-8, 35)
        x = r.choice(WET if wet else DRY)
        args = {key: c} | ({day: d.strip().removeprefix("on ")} if optional and d else {})
        q, a = r.choice([
            (r.choice([f"Do I need an umbrella in {c}{d}?", f"Should I take an umbrella to {c}{d}?", f"Will I need my umbrella{d} in {c}?"]), f"Yes, take an umbrella: the forecast for {c} is {x}." if wet else f"No, you need no umbrella in {c}: {x}."),
            (r.choice([f"Will it rain in {c}{d}?", f"Is it going to rain{d} in {c}?", f"Any rain in {c}{d}?"]), f"Yes, {x} in {c}, with {t} degrees." if wet else f"No rain in {c}: {x}, with {t} degrees."),
            (r.choice([f"Do I need a warm coat in {c}{d}?", f"Is it cold in {c}{d}?"]), f"Yes, it is only {t} degrees in {c}." if t < 10 else f"No, it is {t} degrees in {c}."),
            (r.choice([f"How warm is it in {c}{d}?", f"What's the temperature in {c}{d}?"]), f"It is {t} degrees in {c}."),
            (r.choice([f"What will the weather be like in {c}{d}?", f"weather {c}{d}?", f"How is the weather in {c}{d}?"]), f"The weather in {c}{d}: {x}, {t} degrees."),
            (r.choice([f"Can we have a picnic in {c}{d}?", f"Is it good weather for a walk in {c}{d}?"]), f"Better not: {x} in {c}." if wet else f"Yes, it is {x} in {c}, with {t} degrees.")])
        if r.random() < 0.3:
            q = q[0].lower() + q[1:].rstrip("?")
        return q, args, (args if r.random() < 0.5 else {}) | {sky: x, temp: t} | r.choice([{}, {"wind_kmh": r.randint(2, 60)}]), a
    return tool, turn


def search(r):
    """A tool that returns a list, which may be empty."""
    kind, one, many = r.choice([("restaurants", "restaurant", "Trattoria {}|Bistro {}|The {} Kitchen"), ("hotels", "hotel", "Hotel {}|{} Inn|Pension {}"), ("apartments", "apartment", "{} Street 4|{} Square 11|{} Lane 23"), ("courses", "course", "{} for beginners|Introduction to {}|{} workshop"), ("concerts", "concert", "The {} Band|{} Quartet|{} Choir"), ("used bikes", "bike", "{} 200|{} Classic|City {}")])
    key = r.choice(["city", "place", "location"])
    tool = fn(f"find_{kind.replace(' ', '_')}", f"Find {kind} in a city.", key, **{key: ("string", "City")})

    def turn(r):
        c = r.choice(TOWNS)
        xs = [r.choice(many.split("|")).format(w.title()) for w in r.sample(CODEWORDS, r.choice([0, 1, 2, 3]))]
        q = r.choice([f"Find {kind} in {c}.", f"Which {kind} are there in {c}?", f"I am looking for a {one} in {c}.", f"Are there any {kind} in {c}?", f"{kind} in {c}?"]).replace("a apartment", "an apartment")
        a = f"I found no {kind} in {c}." if not xs else f"I found one {one} in {c}: {xs[0]}." if len(xs) == 1 else f"I found {['two', 'three'][len(xs) - 2]} {kind} in {c}: {join(xs)}."
        return q, {key: c}, {r.choice(["results", kind.replace(" ", "_")]): xs}, a
    return tool, turn


def several(r):
    """A tool whose result has two values of different keys that belong together, as `calls.next_of`."""
    tool, *_ = first = next_of(r)
    made = [first]

    def turn(r):
        x = made.pop() if made else next_of(r)
        while x[0]["name"] != tool["name"] or x[0]["parameters"] != tool["parameters"]:
            x = next_of(r)
        return x[1:]
    return tool, turn


SUMMARIES = [  # (names, description, parameter, subject, questions, [(keys, value)], answer); every value is said
    (["repair_status", "get_repair"], "State of a repair.", ["ticket", "repair_id"], number, ["How far is the repair {s}?", "What about my repair {s}?", "any news on repair {s}", "Is the repair {s} done?"], [(["state", "status"], lambda r: r.choice(["waiting for parts", "in progress", "being tested"])), (["ready", "ready_on"], date)], "The repair {s} is {0} and planned for {1}."),
    (["delivery_status", "where_is_delivery"], "Follow a delivery.", ["delivery", "delivery_id"], code, ["Where is delivery {s}?", "When does my delivery {s} come?", "delivery {s}?", "What is happening with delivery {s}?"], [(["state", "status"], lambda r: r.choice(["packed", "loaded", "on the road", "at the depot", "held at customs"])), (["day", "planned_for"], lambda r: r.choice(DAYS))], "The delivery {s} is {0} and should come on {1}."),
    (["library_loan", "get_loan"], "A loan of the library.", ["book", "title"], title, ["What about my loan of {s}?", "When do I have to return {s}?", "Do I still have {s}?"], [(["due", "due_date"], date), (["renewals_left", "renewals"], lambda r: r.randint(0, 5))], "{s} is due {on1}, and {1} renewals are left."),
    (["parking", "find_parking"], "Free places of a car park.", ["car_park", "name"], lambda r: f"{r.choice(CODEWORDS).title()} Park", ["Can I park at {s}?", "Is there space at {s}?", "How is the parking at {s}?"], [(["free", "free_places"], lambda r: r.randint(2, 300)), (["price_per_hour", "eur_per_hour"], cents)], "{s} has {0} free places; an hour costs {1} euros."),
    (["table_booking", "get_booking"], "Look up a booking.", ["booking", "booking_number"], number, ["What is booking {s}?", "Please check booking {s}.", "details of booking {s}?"], [(["date", "day"], date), (["time"], clock), (["guests", "people"], lambda r: r.randint(2, 14))], "Booking {s} is for {2} people {on1} at {1}."),
    (["tide_times", "get_tides"], "Tides of a harbour.", ["harbour", "place"], lambda r: r.choice(TOWNS), ["When is high tide in {s}, and how high is it?", "tides in {s}?", "When does the water rise in {s}?"], [(["high_tide", "time"], clock), (["height_m", "height"], lambda r: r.randint(10, 79) / 10)], "High tide in {s} is at {0}, with {1} meters."),
    (["meter_reading", "read_meter"], "Reading of a meter.", ["meter", "meter_id"], code, ["What does meter {s} say?", "How much did meter {s} count?", "reading of meter {s}, please"], [(["kwh", "energy_kwh"], lambda r: r.randint(40, 9000)), (["cost", "cost_eur"], cents)], "Meter {s} shows {0} kWh, which costs {1} euros."),
    (["job_status", "get_job"], "State of a batch job.", ["job", "job_id"], code, ["How is job {s} going?", "Is job {s} finished?", "status of job {s}"], [(["state"], lambda r: r.choice(["running", "queued", "finished", "paused"])), (["percent", "progress"], lambda r: r.randint(0, 100))], "Job {s} is {0}, at {1} percent."),
]


def summary(r):
    """A short result of which every value is said."""
    names, about, keys, subject, asks, fields, answer = r.choice(SUMMARIES)
    key = r.choice(keys)
    tool = fn(r.choice(names), about, key, **{key: ("string", r.choice(["What to look up", about.rstrip(".")]))})
    fields = [(r.choice(k), make) for k, make in fields]

    def turn(r):
        s = subject(r)
        values = [make(r) for _, make in fields]
        first = str(values[0])
        on = first if first == "tomorrow" else f"on {first}"
        a = answer.replace("{on1}", on).format(*values, s=s)
        return cap(r.choice(asks).format(s=s)), {key: s}, ({key: s} if r.random() < 0.5 else {}) | dict(zip((k for k, _ in fields), values)), a
    return tool, turn


FAILED = [({"error": "not found"}, "I am sorry, nothing was found."), ({"error": "timeout"}, "I am sorry, the tool did not answer in time. Please try again later."), ({"error": "service unavailable"}, "I am sorry, the service is not available at the moment."), ({"error": "access denied"}, "I am sorry, the tool gave no access.")]


def results(r):
    """Turns of question, call, result and answer with one or two tools."""
    made = [r.choice([lookup] * 6 + [forecast] * 3 + [summary] * 3 + [several] * 2 + [search])(r) for _ in range(r.choice([1, 1, 2]))]
    made = list({t["name"]: (t, turn) for t, turn in made}.values())
    m = maybe_system(r, 0.3)
    for i in range(r.choice([1, 3, 4, 5])):
        tool, turn = r.choice(made)
        if r.random() < 0.3:
            q, a, _ = no_call(r)
            m += [U(q), A(a)]
            continue
        q, args, result, a = turn(r)
        if r.random() < 0.03:
            result, a = r.choice(FAILED)
        m += [U(q), A("") | {"tool_calls": [{"name": tool["name"], "arguments": args}]}, {"role": "tool", "content": json.dumps(result)}, A(a)]
    return C(m, f=[t for t, _ in made], short=r.random() < 0.6)  # the long text before the tools is most of such a conversation
