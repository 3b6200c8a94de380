"""Facts and short explanations of the tables, in many wordings."""

from conversation import A, C, U, maybe_system, table, think
from synth.words import OPPOSITES, cap

COUNTRIES, WORKS, ELEMENTS, ANIMALS, LANDMARKS = (table(x) for x in ("countries", "works", "elements", "animals", "landmarks"))
FACTS = [(qs.split(" / "), a) for qs, a in table("facts")]
REASONS = [(qs.split(" / "), a) for qs, a in table("reasons")]
EXPLANATIONS = table("explanations")
LONGER = [(qs.split(" / "), a) for qs, a in table("longer")]
PAIRS = [x.split("|") for x in (  # subjects of EXPLANATIONS that people confuse or compare
    "an array|a linked list", "a stack|a queue", "a stack|an array", "a binary tree|a linked list", "a hash table|an array", "a CPU|a GPU", "HTML|CSS", "CSS|JavaScript", "HTML|JSON", "Python|JavaScript", "JSON|SQL", "a compiler|an interpreter", "an algorithm|a program", "a loop|recursion",
    "a variable|a function in programming", "a web server|a web browser", "DNS|an IP address", "a computer virus|phishing", "encryption|a hash function", "Linux|Git", "machine learning|artificial intelligence", "a neural network|a language model", "a chatbot|a language model", "a cache|a database", "unit testing|debugging",
    "a bacterium|a virus", "an atom|a molecule", "an earthquake|a tsunami", "a comet|the Moon", "a galaxy|the solar system", "friction|gravity", "electricity|magnetism", "a vitamin|a calorie", "blood|the heart", "an allergy|the immune system", "a fossil|an ecosystem", "hibernation|migration of birds", "a microscope|a telescope", "an engine|a battery",
    "a loan|a tax", "a tax|insurance", "a budget|a loan", "the stock market|a share of a company", "inflation|compound interest", "a contract|a constitution", "democracy|a constitution", "a noun|a verb", "a verb|an adjective", "a noun|an adjective", "a synonym|a metaphor", "a novel|a fable", "a fable|a haiku", "the median|the average", "a fraction|a percentage",
    "a prime number|an even number", "the Renaissance|the Industrial Revolution", "recycling|renewable energy", "solar power|renewable energy", "meditation|yoga", "jazz|an orchestra", "sleep|meditation")]
POLITE = ["{}"] * 9 + ["Please tell me: {}", "I have a question: {}", "{} Please answer briefly.", "Quick question: {}", "Hello! {}", "{} Thanks!", "{} Keep it short.", "Can you tell me: {}"]
NUMBER = {1: ["one sentence", "a single sentence"], 2: ["two sentences", "2 sentences", "one or two sentences"], 3: ["three sentences", "two or three sentences"]}


def n_sentences(a):
    """How many sentences an answer has (1 to 3)."""
    return min(3, len([x for x in a.replace("D.C.", "DC").replace("H. G.", "HG").replace("F. Scott", "F Scott").split(". ") if x]))


def polite(r, q, a):
    """The question as somebody might put it."""
    if r.random() < 0.1:
        return f"{q} Answer in {r.choice(NUMBER[n_sentences(a)])}."
    return r.choice(POLITE).format(q)


def country(r):
    c, capital, continent, language, money = r.choice(COUNTRIES)
    k = r.random()
    if k < 0.55:
        return r.choice([f"What is the capital of {c}?", f"What is the capital of {c}?", f"What's the capital of {c}?", f"Tell me the capital of {c}.", f"Which city is the capital of {c}?", f"Name the capital of {c}.", f"capital of {c}", f"What is {c}'s capital?", f"Do you know the capital of {c}?"]), \
            r.choice([f"The capital of {c} is {capital}.", f"The capital of {c} is {capital}.", f"{capital} is the capital of {c}."])
    if k < 0.7:
        return r.choice([f"Of which country is {capital} the capital?", f"{capital} is the capital of which country?", f"Which country has the capital {capital}?"]), f"{capital} is the capital of {c}."
    if k < 0.82:
        return r.choice([f"On which continent is {c}?", f"Which continent is {c} in?", f"Where is {c}?"]), f"{cap(c)} is in {continent}."
    if k < 0.92:
        return r.choice([f"Which language is spoken in {c}?", f"What language do people speak in {c}?", f"What is the main language of {c}?"]), f"The main language of {c} is {language}."
    return r.choice([f"What is the currency of {c}?", f"Which money is used in {c}?", f"What currency does {c} use?"]), f"The currency of {c} is the {money}."


def work(r):
    w, kind, author, year = r.choice(WORKS)
    made = {"painting": "painted", "opera": "composed", "music": "composed", "ballet": "composed", "symphony": "composed"}.get(kind, "wrote")
    if year and r.random() < 0.15:
        return r.choice([f"When was {w} made?", f"From which year is {w}?"]), f"{w} is from {year}."
    done = {"wrote": "written"}.get(made, made)
    return r.choice([f"Who {made} {w}?", f"Who {made} {w}?", f"Who {made} the {kind} {w}?", f"Who is the {'author' if made == 'wrote' else 'artist' if made == 'painted' else 'composer'} of {w}?", f"{w} was {done} by whom?"]), r.choice([f"{author} {made} {w}.", f"{w} was {done} by {author}."])


def element(r):
    e, s, n = r.choice(ELEMENTS)
    return r.choice([(f"What is the chemical symbol for {e}?", f"The chemical symbol for {e} is {s}."), (f"What is the chemical symbol of {e}?", f"The chemical symbol of {e} is {s}."), (f"Which element has the symbol {s}?", f"{s} is the symbol of {e}."), (f"What is the atomic number of {e}?", f"The atomic number of {e} is {n}.")])


def animal(r):
    a, kind, young, home, food, legs = r.choice(ANIMALS)
    an = ("an " if a[0] in "aeiou" else "a ") + a
    return r.choice([(f"What is a young {a} called?", f"A young {a} is called a {young}." if young[0] not in "aeiou" else f"A young {a} is called an {young}."), (f"What is a baby {a} called?", f"A baby {a} is called {'an' if young[0] in 'aeiou' else 'a'} {young}."), (f"What does {an} eat?", f"{cap(an)} eats mostly {food}."),
                     (f"How many legs does {an} have?", f"{cap(an)} has {dict([('0', 'no'), ('2', 'two'), ('4', 'four'), ('6', 'six'), ('8', 'eight')])[legs]} legs."), (f"Is {an} a mammal?", f"{'Yes' if kind == 'mammal' else 'No'}, {an} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}."), (f"What kind of animal is {an}?", f"{cap(an)} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}."),
                     (f"Where does {an} live?", f"{cap(an)} lives in {home}." if home.startswith("the ") else f"{cap(an)} lives in or near {home}.")])


def landmark(r):
    x, city, c = r.choice(LANDMARKS)
    return r.choice([(f"Where is {x}?", f"{cap(x)} is in {city}, {c}." if city != c else f"{cap(x)} is in {city}."), (f"In which city is {x}?", f"{cap(x)} is in {city}."), (f"In which country is {x}?", f"{cap(x)} is in {c}.")])


def opposite(r):
    x, y = r.choice(OPPOSITES)
    if x != "light" and r.random() < 0.5:
        x, y = y, x
    return r.choice([f"What is the opposite of {x}?", f"Give me the opposite of '{x}'.", f"What is the antonym of {x}?"]), f"The opposite of {x} is {y}."


LISTS = {
    "animals": "dog cat horse cow elephant lion tiger bear rabbit fox wolf mouse sheep goat pig monkey zebra giraffe kangaroo owl duck dolphin", "fruits": "apple banana orange pear grape cherry peach plum mango lemon kiwi strawberry pineapple melon", "vegetables": "carrot potato onion tomato cabbage pea bean spinach pepper cucumber lettuce pumpkin",
    "colors": "red blue green yellow orange purple pink brown black white grey turquoise", "countries": "France|Germany|Italy|Spain|Japan|China|India|Brazil|Canada|Mexico|Egypt|Kenya|Australia|Norway|Poland|Greece|Peru|Chile", "cities": "Paris|London|Rome|Berlin|Madrid|Tokyo|Vienna|Lisbon|New York|Cairo|Sydney|Oslo|Prague|Dublin|Athens",
    "sports": "football tennis swimming basketball running cycling skiing volleyball hockey golf boxing rowing climbing", "musical instruments": "piano violin guitar flute trumpet drums cello harp clarinet saxophone organ accordion", "jobs": "teacher doctor nurse baker farmer pilot cook engineer writer lawyer gardener plumber dentist", "birds": "owl eagle duck goose swan parrot penguin sparrow robin crow stork pigeon",
    "birds of the forest": "owl woodpecker cuckoo jay robin wren finch thrush nightingale", "insects": "bee ant butterfly wasp beetle fly mosquito grasshopper dragonfly ladybird", "fish": "salmon|trout|tuna|cod|herring|carp|pike|eel|shark|sardine", "farm animals": "cow pig sheep goat horse chicken duck goose turkey donkey",
    "sea animals": "whale|dolphin|shark|seal|octopus|crab|jellyfish|lobster|sea turtle|starfish", "wild animals": "lion elephant tiger giraffe zebra wolf bear fox deer monkey rhino", "clothes": "shirt|trousers|jacket|dress|skirt|sweater|coat|socks|hat|scarf|gloves", "vehicles": "car|bus|train|bicycle|plane|ship|truck|motorcycle|tram|boat|helicopter",
    "spices": "salt|pepper|cinnamon|ginger|paprika|cumin|basil|oregano|thyme|nutmeg", "metals": "iron copper gold silver aluminium zinc lead tin nickel titanium", "languages": "English|French|Spanish|German|Italian|Chinese|Japanese|Arabic|Russian|Portuguese|Hindi", "body parts": "head|arm|leg|hand|foot|eye|ear|nose|mouth|knee|shoulder",
    "rivers": "Nile|Amazon|Danube|Rhine|Thames|Mississippi|Ganges|Volga|Seine|Congo", "adjectives": "big small happy sad fast slow old young bright dark warm", "desserts": "ice cream|apple pie|chocolate cake|pudding|pancakes|cookies|fruit salad|cheesecake|brownies|tiramisu", "things in an office": "desk|chair|computer|printer|phone|lamp|paper|pen|shelf|stapler|folder",
    "drinks": "water|tea|coffee|milk|orange juice|lemonade|cocoa|apple juice|beer|wine", "tools": "hammer saw drill screwdriver pliers wrench axe file shovel ladder", "flowers": "rose tulip daisy lily sunflower violet orchid poppy daffodil iris", "trees": "oak birch pine maple willow beech ash fir spruce elm", "pieces of furniture": "chair|table|bed|desk|sofa|shelf|wardrobe|bench|stool|cupboard",
    "things in a kitchen": "pan|pot|knife|fork|spoon|plate|cup|oven|fridge|kettle|bowl|table", "school subjects": "mathematics|history|biology|physics|chemistry|geography|music|art|English|sports", "kinds of weather": "rain|snow|sun|wind|fog|hail|storm|frost", "programming languages": "Python|Java|C|C++|JavaScript|Rust|Go|Ruby|Swift|Kotlin|PHP|Haskell", "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune", "hobbies": "reading|painting|hiking|cooking|gardening|photography|chess|fishing|dancing|knitting|singing|cycling"}


def lists(r):
    """A list of a given number of different things."""
    kind, xs = r.choice(sorted(LISTS.items()))
    xs = xs.split("|") if "|" in xs else xs.split(" ")
    n = r.randint(3, min(12, len(xs)))
    word = dict(zip(range(3, 13), "three four five six seven eight nine ten eleven twelve".split()))[n]
    q = r.choice(["List {n} {k}.", "Name {n} {k}.", "Give me {n} {k}.", "Write a list of {n} {k}.", "Can you name {n} {k}?", "I need {n} {k}.", "Write down {n} different {k}.", "Please list {n} {k}.", "Make a list of {n} {k}.", "I would like a list of {n} {k}.", "give me {n} {k}", "Tell me {n} {k}.", "Can you list {n} {k} for me?", "List {n} {k}, one per line.", "Make a numbered list of {n} {k}."]).format(n=r.choice([str(n), word]), k=kind)
    ys = [cap(x) for x in (xs[:n] if r.random() < 0.75 else r.sample(xs, n))]  # mostly in one order: at temperature 0 nothing comes twice
    a = ", ".join(ys) + "." if n < 7 and "line" not in q and "numbered" not in q and r.random() < 0.4 else "\n".join(f"{i}. {x}" for i, x in enumerate(ys, 1)) if "numbered" in q or r.random() < 0.7 else "\n".join("- " + x for x in ys)
    return C(maybe_system(r, 0.3) + [U(q), A(a)])


def facts(r):
    """A short fact, sometimes several in one conversation."""
    m = maybe_system(r, 0.3)
    for _ in range(r.choice([1, 2, 3, 4])):
        k = r.random()
        if k < 0.3:
            q, a = country(r)
        elif k < 0.72:
            qs, a = r.choice(FACTS)
            q = r.choice(qs)
        else:
            q, a = r.choice([work, work, element, animal, animal, landmark, opposite])(r)
        m += [U(polite(r, q, a)), A(a)]
    return think(C(m), r.choice(["A simple question. I know the answer.", "The user asks for a fact. I answer in one sentence.", f"I know this: {a}"]), r, 0.12)


def described(r):
    """(question, answer) of one subject in a sentence or two; a short answer is asked for."""
    x, verb, a = r.choice(EXPLANATIONS)
    n = r.choice(NUMBER[n_sentences(a)])
    return r.choice([f"What {verb} {x}?", f"Explain {x} in {n}.", f"Describe {x} in {n}.", f"What {verb} {x}? Use {n}.", f"What do we mean by {x}?", f"Define {x}.", f"Explain {x} to a child.", f"Briefly explain {x}.", f"Briefly, what {verb} {x}?",
                     f"In simple terms, what {verb} {x}?", f"Give a short definition of {x}.", f"I don't know what {x} {verb}. Can you help?"]), a


def compared(r):
    """(question, answer): two subjects, each with its own explanation."""
    pair = r.choice(PAIRS)
    (x, _, a), (y, _, b) = (next(e for e in EXPLANATIONS if e[0] == p) for p in (pair if r.random() < 0.5 else pair[::-1]))
    return r.choice([f"What is the difference between {x} and {y}?", f"What is the difference between {x} and {y}?", f"How does {x} differ from {y}?", f"Explain the difference between {x} and {y}.", f"{x} and {y}: what is the difference?", f"What is {x}, and what is {y}?", f"Can you explain {x} and {y} to me?"]), f"{a} {b}"


def at_length(r):
    """(question, answer) in two to four sentences."""
    qs, a = r.choice(LONGER)
    q = r.choice(qs)
    n = len(a.split(". "))
    some = r.choice(["a few sentences", "some sentences", "a short paragraph", f"{'one two three four five'.split()[n - 1]} sentences"])
    how = q[0].lower() + q[1:] if not q.startswith("I ") else q
    return r.choice([q] * 9 + [f"{q} Answer in {some}.", f"{q} Use {some}.", f"{q} Please explain it in {some}.", f"Can you explain this to me: {how}", f"Please explain: {how}", f"{q} I would like to understand it.", f"My daughter asks: {how} What can I tell her?", f"In {some}, {how}", f"In {some}: {how}", f"For a school project: {how}", f"{q} Explain it in simple words."]), a


def explain(r):
    """A short explanation."""
    m = maybe_system(r, 0.3)
    for _ in range(r.choice([1, 1, 2])):
        k = r.random()
        if k < 0.6:
            q, a = at_length(r)
        elif k < 0.75:
            q, a = compared(r)
        elif k < 0.88:
            q, a = described(r)
        else:
            qs, a = r.choice(REASONS)
            q = polite(r, r.choice(qs), a)
        m += [U(cap(q)), A(a)]
    return think(C(m), r.choice(["A short explanation is enough.", "The user wants to understand something. I explain it in simple words.", "I explain this in a few sentences."]), r, 0.12)
