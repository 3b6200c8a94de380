"""Prompts of the kind a newcomer types, for which the source itself writes the answers (`teacher.py`)."""

import random

WHAT = """recursion;a binary tree;machine learning;a neural network;a database;encryption;a compiler;an operating system;cloud computing;an algorithm;a linked list;a web server;unit testing;the HTTP protocol;open source software;photosynthesis;gravity;a black hole;the water cycle;DNA;evolution;a vaccine;a volcano;
a rainbow;electricity;an atom;inflation;democracy;supply and demand;the Renaissance;a metaphor;the solar system;climate change;a balanced diet;meditation;compound interest;the immune system;the Great Wall of China;the Roman Empire;the Amazon rainforest;the Sahara;the Olympic Games;the printing press;the steam engine;
the human heart;the brain;coffee;tea;chocolate;bread;cheese;olive oil;honey;the piano;the guitar;jazz;classical music;ballet;chess;football;tennis;swimming;yoga;running;hiking;gardening;photography;painting;poetry;the novel;theater;cinema;the telephone;the bicycle;the car;the train;the airplane;the ship;a bridge;
a lighthouse;a castle;a museum;a library;a school;a hospital;a market;money;a bank;trade;taxes;insurance;friendship;happiness;courage;patience;honesty;teamwork;leadership;creativity;curiosity;memory;language;writing;mathematics;geometry;statistics;physics;chemistry;biology;astronomy;geology;psychology;philosophy;
Python;JavaScript;Linux;Git;SQL;HTML;a spreadsheet;email;social media;a search engine;a robot;a satellite;the Moon;the Sun;Mars;a comet;the ocean;a river;a mountain;a desert;a forest;rain;snow;wind;lightning;an earthquake;the seasons;whales;elephants;bees;butterflies;owls;wolves;dolphins;penguins;dogs;cats;horses""".replace("\n", "").split(";")
LISTS = """ideas for a weekend trip;benefits of regular exercise;tips for learning a new language;healthy snacks;ways to save water at home;reasons to read books;tips for a job interview;ways to reduce stress;gift ideas for a friend who likes music;things to pack for the beach;tips for better sleep;uses of a computer in school;
ways to save money;ideas for a birthday party;famous inventions;tips for public speaking;hobbies for a rainy day;tips for healthy eating;games for children;ways to stay in touch with friends;things to do in a big city;tips for writing a good essay;ways to protect the environment;names for a cat;names for a puppy;
ideas for dinner;vegetables that grow in winter;tips for new drivers;reasons to learn programming;famous scientists;European cities worth a visit;kinds of weather;musical instruments;tips for time management;ways to say thank you;questions to ask in an interview;ways to learn history;things found in an office""".replace("\n", "").split(";")
STORY = "a dragon;a lost key;a robot;a brave mouse;a talking tree;a rainy day;a boy and his dog;a girl who loves stars;an old clock;a snowman;a small boat;a magic pencil;two friends;a hidden garden;a train journey;a curious cat;a forgotten letter;a baker;a night in the forest;a fisherman;a kind giant".split(";")
POEM = "autumn;the sea;spring;a cat;the moon;friendship;rain;a river;winter;the stars;coffee;my grandmother;a quiet morning;the wind;home".split(";")
LETTER = """an email to my boss asking for a day off;a thank-you note to a teacher;an email to invite colleagues to lunch;a polite reply to a customer whose parcel is late;a birthday message for my sister;a message to a friend who is ill;an email to a landlord about a broken heater;a cover letter for a job in a bookshop;
a note to my neighbour about a loud party;an apology for being late;an email to ask for a meeting next week;a message to welcome a new colleague;a postcard from the beach;a short speech for a wedding;an email to cancel an appointment;a reminder about an unpaid bill""".replace("\n", "").split(";")
TEXT = """a product description for a coffee mug;a product description for a warm blanket;a slogan for a bicycle shop;a slogan for a bakery;a short paragraph about Paris;a short paragraph about healthy food;a short paragraph about the importance of reading;a title for an article about gardening;a name for a small bakery;a name for a travel blog;
a tweet about a new phone;a short biography of a painter;a menu for a small cafe;a riddle;a motto for a sports team;a horoscope for today;a short dialogue between a cat and a dog;a short weather report;a job ad for a cook;a review of a good restaurant;rules for a library;an invitation to a garden party""".replace("\n", "").split(";")
CHANGE = """Rewrite this sentence in a formal tone: hey, can you send me the file?;Make this sentence shorter: Due to the fact that it was raining, we decided that we would stay at home.;Correct the grammar: She go to school every days.;Turn this into a question: The train leaves at noon.;Use the word 'curious' in a sentence.;Use the word 'bright' in a sentence.;
Use the word 'forest' in a sentence.;Make this more polite: Give me the report.;Make this sentence more exciting: The dog ran.;Complete the sentence: The best thing about summer is;Complete the sentence: If I had a million dollars,;Write the sentence in the past tense: I walk to school.;Explain the proverb: The early bird catches the worm.;
Explain the proverb: Too many cooks spoil the broth.;What does 'a piece of cake' mean?;What does 'break a leg' mean?;What does 'under the weather' mean?;Describe a sunset.;Describe your perfect day.;Describe the taste of an apple.;Describe a busy market.;Describe a forest in winter.""".replace("\n", "").split(";")
ASK = """Who was Albert Einstein?;How can I learn to program?;Should I learn Python or JavaScript first?;How do I stay motivated?;What should I cook tonight?;Can you recommend a good book?;How do I make a paper airplane?;What is a good way to start the day?;What is the meaning of life?;How do I make new friends?;How do I become a better writer?;
How do I grow tomatoes?;How do I train a puppy?;How do I clean a window?;How do I write a poem?;How do I learn to swim?;How do I learn to play the guitar?;How do I plan a party?;What makes a good leader?;What makes a good friend?;What is the best way to learn for an exam?;How can I improve my memory?;How can I be more confident?;
What should I wear in winter?;What should I eat before a run?;Is it good to drink coffee?;Why is reading important?;Why is music important?;Why do people travel?;Why do people like cats?;Why is sleep important?;Why is teamwork important?;What is your advice for a new student?;How do I choose a good laptop?;How do I protect my password?""".replace("\n", "").split(";")


def prompts(seed=1):
    """Every prompt once, in a fixed random order."""
    r = random.Random(seed)
    out = []
    for x in WHAT:
        are = "are" if x in ("taxes", "whales", "elephants", "bees", "butterflies", "owls", "wolves", "dolphins", "penguins", "dogs", "cats", "horses", "the seasons", "the Olympic Games") else "is"
        out += r.sample([f"What {are} {x}?", f"Explain {x} in simple terms.", f"Tell me about {x}.", f"Why {'do' if are == 'are' else 'does'} {x} matter?", f"Give me an interesting fact about {x}.", f"What can you tell me about {x}?"], 3)
    for x in LISTS:
        out += r.sample([f"Give me three {x}.", f"List three {x}.", f"List five {x}.", f"Can you give me some {x}?"], 2)
    for x in STORY:
        out += [r.choice(["Write a two-sentence story about {}.", "Write a short story about {}.", "Tell me a short story about {}."]).format(x), r.choice(["Write the first sentence of a story about {}.", "Write a one-paragraph story about {}.", "Give me an idea for a story about {}."]).format(x)]
    out += [r.choice(["Write a short poem about {}.", "Write a poem of four lines about {}."]).format(x) for x in POEM]
    out += ["Write " + x + "." for x in LETTER + TEXT] + CHANGE + ASK
    out = list(dict.fromkeys(out))
    r.shuffle(out)
    return out
