"""Short work on words and texts: translation, questions about a text, rewriting, classification, haiku."""

from conversation import A, C, U, maybe_system, think
from synth import records, text as synth_text
from synth.words import ANIMALS, CITIES, COLORS, FOODS, THINGS, cap, name

LANGS = ["Spanish", "French", "German", "Italian"]
PHRASES = {"good morning": ("buenos días", "bonjour", "guten Morgen", "buongiorno"), "good evening": ("buenas tardes", "bonsoir", "guten Abend", "buonasera"), "good night": ("buenas noches", "bonne nuit", "gute Nacht", "buonanotte"), "hello": ("hola", "bonjour", "hallo", "ciao"),
           "thank you": ("gracias", "merci", "danke", "grazie"), "please": ("por favor", "s'il vous plaît", "bitte", "per favore"), "goodbye": ("adiós", "au revoir", "auf Wiedersehen", "arrivederci"), "yes": ("sí", "oui", "ja", "sì"), "water": ("agua", "eau", "Wasser", "acqua"),
           "bread": ("pan", "pain", "Brot", "pane"), "cat": ("gato", "chat", "Katze", "gatto"), "dog": ("perro", "chien", "Hund", "cane"), "house": ("casa", "maison", "Haus", "casa"), "friend": ("amigo", "ami", "Freund", "amico"), "book": ("libro", "livre", "Buch", "libro"),
           "I love you": ("te quiero", "je t'aime", "ich liebe dich", "ti amo"), "how are you?": ("¿cómo estás?", "comment ça va ?", "wie geht es dir?", "come stai?"), "see you tomorrow": ("hasta mañana", "à demain", "bis morgen", "a domani"), "where is the station?": ("¿dónde está la estación?", "où est la gare ?", "wo ist der Bahnhof?", "dov'è la stazione?"),
           "my name is Anna": ("me llamo Anna", "je m'appelle Anna", "ich heiße Anna", "mi chiamo Anna"), "one": ("uno", "un", "eins", "uno"), "two": ("dos", "deux", "zwei", "due"), "three": ("tres", "trois", "drei", "tre"), "red": ("rojo", "rouge", "rot", "rosso"), "blue": ("azul", "bleu", "blau", "blu"), "green": ("verde", "vert", "grün", "verde"), "milk": ("leche", "lait", "Milch", "latte"),
           "apple": ("manzana", "pomme", "Apfel", "mela"), "sun": ("sol", "soleil", "Sonne", "sole"), "moon": ("luna", "lune", "Mond", "luna"), "mother": ("madre", "mère", "Mutter", "madre"), "father": ("padre", "père", "Vater", "padre"), "school": ("escuela", "école", "Schule", "scuola"), "train": ("tren", "train", "Zug", "treno"), "car": ("coche", "voiture", "Auto", "macchina"),
           "today": ("hoy", "aujourd'hui", "heute", "oggi"), "tomorrow": ("mañana", "demain", "morgen", "domani"), "excuse me": ("perdón", "excusez-moi", "Entschuldigung", "scusi"), "happy birthday": ("feliz cumpleaños", "joyeux anniversaire", "alles Gute zum Geburtstag", "buon compleanno"), "the house is red": ("la casa es roja", "la maison est rouge", "das Haus ist rot", "la casa è rossa"),
           "I am hungry": ("tengo hambre", "j'ai faim", "ich habe Hunger", "ho fame"), "I have a dog": ("tengo un perro", "j'ai un chien", "ich habe einen Hund", "ho un cane"), "I like coffee": ("me gusta el café", "j'aime le café", "ich mag Kaffee", "mi piace il caffè"), "the cat is black": ("el gato es negro", "le chat est noir", "die Katze ist schwarz", "il gatto è nero")}


def translate(r):
    m = maybe_system(r, 0.2)
    for _ in range(r.choice([1, 2, 3])):
        p, ws = r.choice(list(PHRASES.items()))
        i = r.randrange(4)
        back = r.random() < 0.2
        if back:
            m += [U(r.choice(["What does '{w}' mean in English?", "Translate '{w}' from {l} into English.", "Translate to English: {w}"]).format(w=ws[i], l=LANGS[i])), A(f"'{cap(ws[i])}' means '{p}'.")]
        else:
            m += [U(r.choice(["Translate '{p}' to {l}.", "Translate '{p}' into {l}.", "How do you say '{p}' in {l}?", "What is '{p}' in {l}?", "Translate to {l}: {p}", "Say '{p}' in {l}.", "{l} for '{p}'?"]).format(p=p, l=LANGS[i])), A(cap(ws[i]) + ("" if ws[i][-1] in "?" else "."))]
    return C(m)


HAIKU = """a frog|Old pond in the dusk / a frog leaps into stillness / rings of silver spread
autumn|Autumn leaves let go / one by one they find the path / wind forgets their names
snow|First snow of the year / the garden holds its white breath / a sparrow steps through
the sea|Waves return to shore / carrying the moon in parts / sand remembers none
rain|Morning rain on glass / the city hums behind it / tea cools in my hands
mountains|Mountain after storm / a cloud hangs on the old pine / then it too lets go
spring|Spring wind through the fields / every blade of grass bows low / then stands up again
a train|Night train to the coast / windows full of passing stars / no one says a word
a fish|Small fish in the stream / quick as a thought and as bright / gone beneath the stone
summer|Summer noon is still / one cicada fills the sky / shade is all I own
a cat|Cat upon the sill / watches the snow that watches / nothing in return
programming|Code runs at midnight / one missing mark in the line / dawn finds it at last
the moon|Moon above the roof / the whole street sleeps in silver / one dog stays awake
a tree|Old tree by the road / every year another ring / nobody can see
coffee|Steam above the cup / the first word of the morning / is a quiet sip
winter|Winter holds the lake / under ice the water dreams / of boats and of wind
the wind|Wind without a name / opens every door in town / and closes them all
a bird|Small bird on the wire / one song for the waking street / then only the sky""".split("\n")


def haiku(r):
    x, t = r.choice(HAIKU).split("|")
    return C(maybe_system(r, 0.2) + [U(r.choice(["Write a haiku about {}.", "Write me a haiku about {}", "A haiku about {}, please.", "Compose a haiku on {}."]).format(x)), A("\n".join(cap(y.strip()) for y in t.split("/")))])


FIXES = [("She go to school every day.", "She goes to school every day."), ("He don't like tea.", "He doesn't like tea."), ("I has two cats.", "I have two cats."), ("They was late.", "They were late."), ("We goes home now.", "We go home now."), ("I seen him yesterday.", "I saw him yesterday."), ("She can sings well.", "She can sing well."), ("There is many people here.", "There are many people here."),
         ("He is more taller than me.", "He is taller than me."), ("I am agree with you.", "I agree with you."), ("Yesterday I go to the park.", "Yesterday I went to the park."), ("She have a new car.", "She has a new car."), ("The childs are playing.", "The children are playing."), ("I recieve many letters.", "I receive many letters."), ("Their going to the beach.", "They're going to the beach."), ("its a nice day", "It's a nice day.")]
POLITE = [("Give me the report.", "Could you please give me the report?"), ("Close the door.", "Could you please close the door?"), ("Send me the file now.", "Could you please send me the file?"), ("I want coffee.", "I would like a coffee, please."), ("Answer my email.", "Could you please answer my email?"), ("You are late.", "I think you are a little late."), ("Move your car.", "Would you mind moving your car?")]
TENSES = [("I walk to school.", "I walked to school."), ("She plays the piano.", "She played the piano."), ("We eat bread.", "We ate bread."), ("They go to the market.", "They went to the market."), ("He writes a letter.", "He wrote a letter."), ("I see a bird.", "I saw a bird."), ("You buy apples.", "You bought apples."), ("The dog runs.", "The dog ran.")]
TITLES = {"sports": ["The home team won the final by two goals.", "The runner broke the record in the marathon.", "The tennis player lost in the third set."], "politics": ["The parliament voted for the new law.", "The president met the ministers on Monday.", "The election takes place in May."], "science": ["Researchers found a new kind of frog.", "The telescope took pictures of a distant galaxy.", "A new vaccine was tested."],
          "business": ["The company sold more cars this year.", "The bank raised its interest rates.", "The shop chain opens ten new stores."], "food": ["Add the eggs and stir the dough.", "The new restaurant serves fresh pasta.", "Bake the cake for forty minutes."], "travel": ["The hotel is near the beach.", "The train to the mountains leaves at noon.", "Visitors love the old town."]}
MOODS = {"positive": ["I love this place.", "What a wonderful day!", "The food was delicious.", "The staff was very friendly.", "This is the best book I have read."], "negative": ["I hate waiting in line.", "The food was cold and bad.", "This was a waste of money.", "The room was dirty.", "I am very disappointed."]}


def edit(r):
    k = r.randrange(6)
    if k == 0:
        x, y = r.choice(FIXES)
        q = r.choice(["Correct this sentence: {}", "Fix the grammar: {}", "Correct the mistakes: {}", "Is this correct? {}", "Proofread: {}"]).format(x)
        return C([U(q), A(f"No. Correct is: {y}" if q.startswith("Is") else y)])
    if k == 1:
        x, y = r.choice(POLITE)
        return C([U(r.choice(["Make this more polite: {}", "Say this politely: {}", "Rewrite this in a polite way: {}"]).format(x)), A(y)])
    if k == 2:
        x, y = r.choice(TENSES)
        return C([U(r.choice(["Put this into the past tense: {}", "Write this in the past tense: {}", "Change to past tense: {}"]).format(x)), A(y)])
    if k == 3:
        label = r.choice(list(TITLES))
        return C([U(r.choice(["Classify this text as one of {o}: {t}", "Which category fits, {o}? {t}", "Category ({o}): {t}"]).format(o=", ".join(sorted(r.sample([x for x in TITLES if x != label], 2) + [label])), t=r.choice(TITLES[label]))), A(label)])
    if k == 4:
        label = r.choice(list(MOODS))
        return C([U(r.choice(["Is this sentence positive or negative: {}", "What is the sentiment of this text? {}", "Positive or negative? {}", "Classify the sentiment: {}"]).format(r.choice(MOODS[label]))), A(r.choice([f"It is {label}.", cap(label), f"The sentiment is {label}."]))])
    xs = r.sample(ANIMALS + FOODS + COLORS + THINGS, r.randint(3, 6))
    q, a = r.choice([("Sort alphabetically: ", ", ".join(sorted(xs))), ("Make a bulleted list: ", "\n".join("- " + x for x in xs)), ("Make a numbered list: ", "\n".join(f"{i}. {x}" for i, x in enumerate(xs, 1))), ("What is the first word of this list? ", xs[0]), ("What is the last word of this list? ", xs[-1]), ("How many words are in this list? ", f"There are {len(xs)} words.")])
    return C([U(q + ", ".join(xs)), A(a)])


def reading(r):
    return r.choice([records.doc_question] * 3 + [records.table, records.summary, synth_text.string_task, synth_text.string_task, edit, edit, edit, edit])(r)
