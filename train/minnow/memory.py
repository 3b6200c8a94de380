"""Facts that the user tells and asks for later in the same conversation."""

from conversation import A, C, U, maybe_system, table
from synth.words import ANIMALS, CITIES, CODEWORDS, COLORS, DAYS, FIRST, FOODS, HOBBIES, JOBS, MONTHS, THINGS, cap, name
from talk import TALK

FACTS = [(q, a) for qs, a in table("facts") for q in qs.split(" / ") if len(a) < 80]
ABOUT = [  # (what is said, how it is asked for, the answer, the value)
    (["My name is {v}.", "I'm {v}.", "I am called {v}.", "You can call me {v}.", "Hi, I am {v}."], ["What is my name?", "Do you remember my name?", "Who am I?", "What's my name?", "What did I say my name is?", "How am I called?"], "Your name is {v}.", name),
    (["I live in {v}.", "I am from {v}.", "My home is in {v}.", "I moved to {v} last year."], ["Where do I live?", "Which city do I live in?", "Where am I from?", "In which city is my home?"], "You live in {v}.", lambda r: r.choice(CITIES)),
    (["I work as a {v}.", "I am a {v}.", "My job is {v}."], ["What is my job?", "What do I do for a living?", "What do I work as?", "What is my profession?"], "You work as a {v}.", lambda r: r.choice([j for j in JOBS if j[0] not in "aeiou"])),
    (["I have a {v}.", "My pet is a {v}.", "At home I have a {v}."], ["Which animal do I have?", "What pet do I have?", "What kind of pet do I have?"], "You have a {v}.", lambda r: r.choice("cat dog rabbit hamster parrot turtle goldfish pony".split())),
    (["My dog is called {v}.", "The name of my dog is {v}.", "I have a dog named {v}."], ["What is my dog called?", "What is the name of my dog?", "How did I name my dog?"], "Your dog is called {v}.", lambda r: r.choice("Rex Bella Luna Rocky Charlie Daisy Buddy Molly Toby Coco Lucky Sunny".split())),
    (["My cat is called {v}.", "I have a cat named {v}."], ["What is my cat called?", "What is the name of my cat?"], "Your cat is called {v}.", lambda r: r.choice("Whiskers Misty Shadow Simba Tiger Oscar Felix Nala Smokey Ginger Pepper".split())),
    (["I like {v}.", "My hobby is {v}.", "In my free time I enjoy {v}.", "I love {v}."], ["What do I like?", "What is my hobby?", "What do I do in my free time?", "What do I enjoy?"], "You like {v}.", lambda r: r.choice(HOBBIES + ["tea", "jazz", "sailing", "skiing"])),
    (["My favourite colour is {v}.", "My favorite color is {v}.", "I like the color {v} most."], ["What is my favourite colour?", "What is my favorite color?", "Which colour do I like most?"], "Your favourite colour is {v}.", lambda r: r.choice(COLORS)),
    (["My favourite food is {v}.", "I like to eat {v} most of all.", "I love to eat {v}."], ["What is my favourite food?", "What do I like to eat?", "Which food do I like?"], "Your favourite food is {v}.", lambda r: r.choice(FOODS + ["pizza", "pasta", "sushi", "curry"])),
    (["My meeting is at {v}.", "I have a meeting at {v}.", "My appointment is at {v}."], ["When is my meeting?", "At what time is my meeting?", "What time is my appointment?"], "It is at {v}.", lambda r: f"{r.randint(1, 12)} {r.choice(['am', 'pm'])}"),
    (["The code word is {v}.", "Remember the word {v}.", "Please remember this word: {v}.", "The password for today is {v}."], ["What is the code word?", "What was the word?", "Which word did I ask you to remember?", "What word did I tell you?"], "The word is {v}.", lambda r: r.choice(CODEWORDS)),
    (["I am {v} years old.", "My age is {v}.", "I turned {v} last week."], ["How old am I?", "What is my age?"], "You are {v} years old.", lambda r: r.randint(8, 90)),
    (["My sister is called {v}.", "My sister's name is {v}."], ["What is my sister's name?", "What is my sister called?"], "Your sister is called {v}.", name), (["My brother is called {v}.", "My brother's name is {v}."], ["What is my brother's name?", "What is my brother called?"], "Your brother is called {v}.", name),
    (["My birthday is in {v}.", "I was born in {v}."], ["When is my birthday?", "In which month is my birthday?"], "Your birthday is in {v}.", lambda r: r.choice(MONTHS)), (["I am flying to {v} on Friday.", "I am going to {v} next week.", "My next trip goes to {v}."], ["Where am I going?", "Where does my trip go?", "Which city am I travelling to?"], "You are going to {v}.", lambda r: r.choice(CITIES)),
    (["My car is {v}.", "I drive a {v} car."], ["What colour is my car?", "What color is my car?"], "Your car is {v}.", lambda r: r.choice(COLORS)), (["I bought a {v} today.", "Today I bought a {v}."], ["What did I buy?", "What did I buy today?"], "You bought a {v}.", lambda r: r.choice([t for t in THINGS if t[0] not in "aeiou"])),
    (["The number is {v}.", "My lucky number is {v}.", "Remember the number {v}."], ["What was the number?", "What is my number?", "Which number did I tell you?"], "The number is {v}.", lambda r: r.randint(2, 999)), (["My exam is on {v}.", "I have an exam on {v}."], ["When is my exam?", "On which day is my exam?"], "Your exam is on {v}.", lambda r: r.choice(DAYS)),
    (["My favourite animal is the {v}."], ["What is my favourite animal?", "Which animal do I like most?"], "Your favourite animal is the {v}.", lambda r: r.choice(ANIMALS)), (["I am allergic to {v}."], ["What am I allergic to?", "Which food should I avoid?"], "You are allergic to {v}.", lambda r: r.choice(["nuts", "milk", "eggs", "fish", "pollen", "cats", "strawberries"])),
    (["I play the {v}.", "My instrument is the {v}."], ["Which instrument do I play?", "What do I play?", "What is my instrument?"], "You play the {v}.", lambda r: r.choice("piano violin guitar flute cello drums trumpet harp clarinet saxophone".split())),
    (["I am learning {v}.", "I study {v} in the evening."], ["What am I learning?", "Which language am I learning?"], "You are learning {v}.", lambda r: r.choice("Spanish French Italian Japanese Portuguese Swedish Polish Greek".split())),
    (["I have {v} children.", "We are a family with {v} children."], ["How many children do I have?"], "You have {v} children.", lambda r: r.choice("two three four five".split())),
    (["My train leaves at {v}.", "I have to catch the train at {v}."], ["When does my train leave?", "At what time is my train?"], "Your train leaves at {v}.", lambda r: f"{r.randint(5, 22)}:{r.choice(['05', '15', '30', '42', '50'])}"),
    (["My favourite drink is {v}.", "I like to drink {v}."], ["What is my favourite drink?", "What do I like to drink?"], "Your favourite drink is {v}.", lambda r: r.choice(["tea", "coffee", "milk", "lemonade", "apple juice", "cocoa"])),
    (["My room number is {v}.", "I stay in room {v}."], ["What is my room number?", "Which room am I in?"], "Your room number is {v}.", lambda r: r.randint(100, 899)), (["My teacher is Mrs. {v}."], ["Who is my teacher?", "What is my teacher's name?"], "Your teacher is Mrs. {v}.", lambda r: r.choice(["Baker", "Stone", "Hill", "Rossi", "Klein", "Green"])),
]
OTHERS = [  # facts about somebody else, whose name is {n}
    ("{n} lives in {v}.", ["Where does {n} live?", "In which city does {n} live?"], "{n} lives in {v}.", lambda r: r.choice(CITIES)), ("{n} works as a {v}.", ["What does {n} do for a living?", "What is {n}'s job?"], "{n} works as a {v}.", lambda r: r.choice([j for j in JOBS if j[0] not in "aeiou"])),
    ("{n} likes {v}.", ["What does {n} like?", "What is {n}'s hobby?"], "{n} likes {v}.", lambda r: r.choice(HOBBIES)), ("{n} is {v} years old.", ["How old is {n}?", "What is {n}'s age?"], "{n} is {v} years old.", lambda r: r.randint(5, 90)), ("{n} has a {v}.", ["What pet does {n} have?", "Which animal does {n} have?"], "{n} has a {v}.", lambda r: r.choice("cat dog rabbit hamster parrot turtle".split())),
    ("{n} arrives on {v}.", ["When does {n} arrive?", "On which day does {n} arrive?"], "{n} arrives on {v}.", lambda r: r.choice(DAYS)), ("{n} drives a {v} car.", ["What colour is {n}'s car?"], "{n}'s car is {v}.", lambda r: r.choice(COLORS)),
]
WHO = ["My friend {n}", "My sister {n}", "My brother {n}", "My colleague {n}", "My boss {n}", "My neighbour {n}", "My cousin {n}", "{n}"]


def about_others(r):
    """Facts about other people, and questions about one of them."""
    people = r.sample(FIRST, r.choice([1, 2, 2, 3]))
    fs = [(n, r.choice(OTHERS)) for n in people]
    fs = [(n, x, x[3](r)) for n, x in fs]
    m = maybe_system(r, 0.3) + [U(" ".join(cap(x[0].replace("{n}", r.choice(WHO), 1).format(n=n, v=v)) for n, x, v in fs)), A(r.choice(NOTED))]
    if r.random() < 0.5:
        q, a = r.choice(FACTS)
        m += [U(q), A(a)]
    for n, x, v in r.sample(fs, min(2, len(fs))):
        m += [U(r.choice(x[1]).format(n=n)), A(x[2].format(n=n, v=v))]
    return C(m)


NOTED = ["Thank you, I will remember that.", "Understood. How can I help you?", "Good to know! What can I do for you?", "Okay, noted.", "I see. How can I help?"]


def said(r, item):
    says, asks, answer, value = item
    v = value(r)
    return {"text": r.choice(says).format(v=v), "ask": asks, "answer": answer.format(v=v), "name": v if item is ABOUT[0] else None, "item": item}


def hour(r):
    return r.choice([f"{r.randint(1, 12)} {r.choice(['am', 'pm'])}", f"{r.randint(6, 22)}:{r.choice(['00', '10', '15', '30', '45'])}", f"{r.randint(1, 12)} o'clock", "noon"])


PLANS = [  # (how it is said, how the assistant repeats it, how a correction names it, questions, value)
    ("the meeting starts at {v}", "the meeting starts at {v}", "it starts at {v}", ["when does the meeting start?", "at what time is the meeting?"], hour), ("my dentist appointment is on {v}", "your dentist appointment is on {v}", "it is on {v}", ["when is my dentist appointment?", "on which day do I see the dentist?"], lambda r: r.choice(DAYS)),
    ("the party is on {v}", "the party is on {v}", "it's on {v}", ["when is the party?", "which day is the party?"], lambda r: r.choice(DAYS)), ("we are {v} people for dinner", "you are {v} people for dinner", "we are {v}", ["how many people are we for dinner?", "for how many do I cook dinner?"], lambda r: r.choice("three four five six seven eight nine ten twelve".split())),
    ("my budget is {v} euros", "your budget is {v} euros", "it is {v} euros", ["what is my budget?", "how much can I spend?"], lambda r: r.randint(2, 90) * 10), ("the code of the door is {v}", "the code of the door is {v}", "the code is {v}", ["what is the code of the door?", "which code do I need?"], lambda r: r.randint(1000, 9999)),
    ("our hotel is in {v}", "your hotel is in {v}", "it is in {v}", ["where is our hotel?", "in which city is the hotel?"], lambda r: r.choice(CITIES)), ("I need {v} chairs", "you need {v} chairs", "I need {v}", ["how many chairs do I need?"], lambda r: r.randint(3, 60)), ("my flight goes from gate {v}", "your flight goes from gate {v}", "it is gate {v}", ["from which gate does my flight go?", "which gate do I need?"], lambda r: f"{r.choice('ABCD')}{r.randint(1, 40)}"),
    ("my boss is called {v}", "your boss is called {v}", "the name is {v}", ["what is my boss called?", "what is the name of my boss?"], name), ("the shop opens at {v}", "the shop opens at {v}", "it opens at {v}", ["when does the shop open?"], hour), ("my bus goes at {v}", "your bus goes at {v}", "it goes at {v}", ["when does my bus go?", "when is my bus?"], hour), ("the wall should be {v}", "the wall should be {v}", "make it {v}", ["what colour should the wall be?"], lambda r: r.choice(COLORS)),
    ("the cake is for {v}", "the cake is for {v}", "it is for {v}", ["for whom is the cake?", "who is the cake for?"], name), ("the exam is in room {v}", "the exam is in room {v}", "it is in room {v}", ["in which room is the exam?"], lambda r: r.randint(1, 300)), ("I take the course in {v}", "you take the course in {v}", "I take it in {v}", ["when do I take the course?", "in which month is my course?"], lambda r: r.choice(MONTHS)), ("the password hint is {v}", "the password hint is {v}", "the hint is {v}", ["what is the password hint?"], lambda r: r.choice(CODEWORDS)),
]


def corrected(r):
    """Plans, of which some are corrected once or twice; the last value counts."""
    m = maybe_system(r, 0.3)
    plans = [[*x, x[4](r)] for x in r.sample(PLANS, r.choice([1, 1, 2, 3]))]
    m += [U(r.choice(["", "", "Please note: ", "FYI: "]) + ". ".join(cap(x[0].format(v=x[5])) for x in plans) + r.choice([".", ".", ". Please keep that in mind."])), A(r.choice([f"All right, {' and '.join(x[1].format(v=x[5]) for x in plans)}.", f"Okay, {plans[-1][1].format(v=plans[-1][5])}.", "Okay, noted.", "I will remember that."]))]
    for _ in range(r.choice([0, 1, 1, 1, 2])):
        if r.random() < 0.3:
            q, a = r.choice(FACTS)
            m += [U(q), A(a)]
        x = r.choice(plans)
        new = x[4](r)
        while new == x[5]:
            new = x[4](r)
        said_again = x[0].format(v=new) if len(plans) > 1 or r.random() < 0.5 else x[2].format(v=new)
        m += [U(r.choice(["Sorry, {s}.", "Oh, I was wrong: {s}.", "Correction: {s}.", "No wait, {s}, not {o}.", "There is a change: {s}.", "I mixed it up, {s}", "actually {s}", "Change of plan: {s}.", "Not {o}! {c}.", "That changed. Now {s}."]).format(s=said_again, c=cap(said_again), o=x[5])),
              A(r.choice(["Thank you, I changed that.", "No problem, I have changed it.", f"Okay, so {x[1].format(v=new)}.", f"Got it: {x[1].format(v=new)}.", f"All right, {x[1].format(v=new)}, not {x[5]}."]))]
        x[5] = new
    if r.random() < 0.3:
        q, a = r.choice(FACTS)
        m += [U(q), A(a)]
    for x in r.sample(plans, min(2, len(plans))):
        q = r.choice(x[3])
        m += [U(r.choice(["{c}", "{c}", "So {q}", "Remind me, {q}", "And {q}"]).format(q=q, c=cap(q))), A(cap(x[1].format(v=x[5])) + ".")]
    return C(m)


def memory(r):
    """Told facts, some turns of something else, then questions about what was told or not told."""
    k = r.random()
    if k < 0.2:
        return about_others(r)
    if k < 0.55:
        return corrected(r)
    fs = [said(r, x) for x in r.sample(ABOUT, r.choice([1, 1, 2, 2, 3, 4]))]
    m = maybe_system(r, 0.3)
    groups = [fs] if r.random() < 0.6 or len(fs) == 1 else [fs[:1], fs[1:]]
    for g in groups:
        n = next((f["name"] for f in g if f["name"]), None)
        reply = r.choice([f"Nice to meet you, {n}! How can I help you?", f"Hello, {n}! I will remember that.", f"Hello {n}! What can I do for you?"]) if n else r.choice(NOTED)
        m += [U(r.choice(["", "", "", "Hello! ", "Hi. "]) + " ".join(f["text"] for f in g).replace("Hi, I", "I") + r.choice(["", "", "", " Please remember that."])), A(reply)]
        for _ in range(r.choice([0, 0, 1, 1, 2])):
            q, a = r.choice(FACTS) if r.random() < 0.6 else [r.choice(z) for z in r.choice(TALK[2:6])]
            m += [U(q), A(a)]
    if len(fs) > 1 and r.random() < 0.35:
        x, y = r.sample(fs, 2)
        qx, qy = r.choice(x["ask"]), r.choice(y["ask"])
        a = f"{x['answer'].rstrip('.')}, and {y['answer'][0].lower() + y['answer'][1:]}"
        m += [U(f"{qx.rstrip('?')}, and {qy[0].lower() + qy[1:]}"), A(a)]
    else:
        for f in r.sample(fs, min(2, len(fs))):
            m += [U(r.choice(f["ask"])), A(f["answer"])]
    if r.random() < 0.2:
        other = r.choice([z for z in ABOUT if all(z is not f["item"] for f in fs)])
        m += [U(other[1][0]), A("You have not told me that yet.")]
    elif r.random() < 0.3:
        f = r.choice(fs)
        new = said(r, f["item"])
        while new["answer"] == f["answer"]:
            new = said(r, f["item"])
        m += [U(r.choice(["Sorry, I made a mistake. ", "Sorry, I meant: ", "Correction: ", "Wait, that was wrong. ", "Actually, ", "No, I was wrong: "]) + new["text"].replace("Hi, I", "I")), A(r.choice(["Okay, I have noted that.", "Thank you, I will remember that."])), U(r.choice(f["ask"])), A(new["answer"])]
    elif r.random() < 0.15:
        firsts = [x["content"] for x in m if x["role"] == "user"]
        m += [U(r.choice(["What did I ask first?", "What was my first message?"])), A(f'Your first message was: "{firsts[0]}"')]
    return C(m)
