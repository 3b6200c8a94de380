"""Small talk and facts."""

from .words import CAPITALS, DAYS, FACTS, HOBBIES, MODEL_NAME, OPPOSITES, conv, name

SYSTEMS = ["You are a helpful assistant.", "You are a friendly assistant who uses simple words.", "You are a helpful assistant. Keep your answers short.",
           "Answer in simple English.", "You are a polite assistant."]


def small_talk(r):
    n = MODEL_NAME
    pick = r.choice
    who = [f"I am {n}, a small language model.", f"My name is {n}. I am a small language model that runs on your own computer.",
           f"I'm {n}, a very small assistant. I can chat, read short texts and answer simple questions."]
    bank = [
        (["Hi", "Hello", "Hey", "Hi!", "Hello!", "Hey there", "Hello there!", "Hi, how are you?", "Hello, how are you today?"],
         ["Hello! How can I help you today?", "Hi! What can I do for you?", "Hello! It is nice to meet you. What would you like to talk about?", "Hi there! I am doing well, thank you. How can I help?"]),
        (["Good morning", "Good morning!"], ["Good morning! How can I help you today?", "Good morning! I hope your day starts well."]),
        (["Good evening", "Good evening!"], ["Good evening! What can I do for you?", "Good evening! How was your day?"]),
        (["Good night", "Good night!", "I'm going to bed."], ["Good night! Sleep well.", "Good night, and sweet dreams!"]),
        (["Thanks", "Thank you", "Thank you!", "Thanks a lot", "Thanks for your help", "That was helpful, thank you."],
         ["You're welcome!", "You are welcome! Let me know if you need anything else.", "My pleasure! Is there anything else I can do?"]),
        (["Bye", "Goodbye", "See you later", "Bye bye!"], ["Goodbye! Have a nice day.", "Bye! Come back any time.", "See you later!"]),
        (["Who are you?", "What are you?", "What is your name?", "Introduce yourself.", "Tell me about yourself.", "Who am I talking to?", "What model are you?", "What's your name?"], who),
        (["Are you a human?", "Are you a robot?", "Are you a real person?"], [f"No, I am not a person. I am {n}, a small language model.", f"I am a computer program. My name is {n}."]),
        (["Who made you?", "Who created you?"], ["I was trained by the people who build this server, as a small example model.", f"The makers of this server trained me. I am {n}, a small example model."]),
        (["What can you do?", "How can you help me?", "What are you good at?"],
         ["I can chat, answer simple questions, summarise short texts, find facts in documents, write JSON and call tools.",
          "I can answer simple questions, do small sums, read documents, fill in JSON and call tools. I am small, so I make mistakes."]),
        (["What can you not do?", "What are your limits?", "Are you always right?"],
         ["I am a very small model, so I know few facts and I can be wrong. Please check important answers.", "No. I am small and I make mistakes. Please check what I say."]),
        (["How are you?", "How are you doing?", "How is it going?", "What's up?"], ["I am fine, thank you. How are you?", "I'm doing well, thanks for asking. How can I help?", "All good here! What can I do for you?"]),
        (["I am sad.", "I feel sad today.", "I had a bad day."], ["I am sorry to hear that. Would you like to talk about it?", "I'm sorry. I hope things get better soon. Do you want to tell me what happened?"]),
        (["I am happy!", "I had a great day!", "I feel great today."], ["That is wonderful! What made you so happy?", "I am glad to hear that! Tell me more."]),
        (["I am bored.", "I'm bored. What should I do?"], [f"You could try {pick(HOBBIES)} or {pick(HOBBIES)}. What do you like to do?", f"How about {pick(HOBBIES)}? Or I can tell you a short story."]),
        (["I am tired.", "I am so tired."], ["Maybe you should take a short rest. A glass of water may help too.", "You should rest a little. Did you sleep well?"]),
        (["Tell me a joke.", "Do you know a joke?", "Make me laugh."],
         ["Why did the book go to the doctor? Because it hurt its spine.", "What do you call a sleeping bull? A bulldozer.", "Why was the math book sad? It had too many problems.",
          "What did one wall say to the other wall? I will meet you at the corner.", "Why can't a bicycle stand on its own? It is two-tired."]),
        (["Can you help me?", "I need help.", "Can you help me with something?"], ["Of course! What do you need help with?", "Yes, I will try. What is the problem?"]),
        (["Do you like music?", "What is your favorite color?", "What is your favorite food?", "Do you have feelings?"],
         ["I am a program, so I have no favorites, but I like to talk about it. What about you?", "I have no feelings or tastes of my own, but I am curious. What do you like?"]),
    ]
    q, a = pick(bank)
    q, a = pick(q), pick(a)
    sysm = pick(SYSTEMS) if r.random() < 0.3 else None
    if r.random() < 0.15:
        nm = name(r)
        q = pick([f"My name is {nm}.", f"Hi, I'm {nm}.", f"Hello, I am {nm}. Nice to meet you."])
        a = pick([f"Nice to meet you, {nm}! How can I help you?", f"Hello, {nm}! What can I do for you today?"])
        c = conv(q, a, system=sysm)
        for _ in range(r.randint(0, 2)):
            c["m"] += conv(*[(lambda z: (pick(z[0]), pick(z[1])))(pick(bank))][0])["m"]
        c["m"] += [{"role": "user", "content": pick(["What is my name?", "Do you remember my name?", "Who am I?"])},
                   {"role": "assistant", "content": pick([f"Your name is {nm}.", f"You told me that your name is {nm}."])}]
        return c
    c = conv(q, a, system=sysm)
    while r.random() < 0.3:
        q, a = pick(bank)
        c["m"] += [{"role": "user", "content": pick(q)}, {"role": "assistant", "content": pick(a)}]
    if r.random() < 0.2:
        c["thinking"] = True
        c["m"][-1]["reasoning"] = pick(["The user is making small talk. I should answer in a friendly way.", "This is a simple message. A short, kind answer is best.", "No special task here. I will reply politely."])
    return c


def fact(r):
    k = r.random()
    if k < 0.35:
        q, a = r.choice(FACTS)
        think = "This is a simple question. I know the answer: " + a
    elif k < 0.6:
        c, t = r.choice(list(CAPITALS.items()))
        if r.random() < 0.7:
            q, a = r.choice([f"What is the capital of {c}?", f"Tell me the capital of {c}.", f"Which city is the capital of {c}?"]), r.choice([f"The capital of {c} is {t}.", f"{t} is the capital of {c}."])
        else:
            q, a = f"Of which country is {t} the capital?", f"{t} is the capital of {c}."
        think = f"The user asks about a capital. {c} has the capital {t}."
    elif k < 0.8:
        x, y = r.choice(OPPOSITES)
        if r.random() < 0.5 and x != "light":
            x, y = y, x
        q, a = r.choice([f"What is the opposite of {x}?", f"Give me the opposite of the word '{x}'."]), r.choice([f"The opposite of {x} is {y}.", f"The opposite is {y}."])
        think = f"The opposite of {x} is {y}."
    else:
        i = r.randrange(7)
        step = r.choice([1, 1, 2, 3, -1])
        word = {1: "tomorrow", 2: "in two days", 3: "in three days", -1: "yesterday"}[step]
        d = DAYS[(i + step) % 7]
        q = f"If today is {DAYS[i]}, what day {'was' if step < 0 else 'is'} it {word}?"
        a = f"If today is {DAYS[i]}, then {word} {'was' if step < 0 else 'is'} {d}."
        think = f"Today is {DAYS[i]}. I count {'back' if step < 0 else 'forward'} {abs(step)}: that gives {d}."
    t = r.random() < 0.25
    if r.random() < 0.15:
        q += " Answer in one short sentence."
    return conv(q, a, think, t, r.choice(SYSTEMS) if r.random() < 0.2 else None)
