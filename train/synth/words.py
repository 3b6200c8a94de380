"""Names, places and facts the tasks are made of, and the smallest helpers."""

import string

MODEL_NAME = "Minnow"

FIRST = """Ada Alan Alice Amara Amir Ana Anna Ben Bo Carla Carlos Chen Chloe Clara Dan Dara David Diego Dina Ella Emma Eric Eva Farah Felix Finn
Gita Grace Hana Hans Hugo Ida Igor Ines Iris Ivan Jack Jana Jim Jin Jonas Jorge Julia Kai Karim Kate Kenji Lara Leo Lily Lin Lucas Lucy Maria Mark Marta
Max Maya Mei Mia Milo Mina Nadia Nina Noah Nora Olga Omar Oscar Paul Pedro Petra Priya Ravi Rita Rosa Ruth Sam Sana Sara Sofia Tara Theo Tom Uma Vera
Victor Wei Yara Yuki Zara Zoe""".split()
LAST = """Adams Baker Bell Berg Brown Clark Costa Cruz Diaz Evans Fischer Ford Garcia Gray Green Hill Ito Jones Kaya Khan Kim King Klein Lee Lopez
Mori Morgan Novak Okafor Olsen Park Patel Reed Rossi Sato Silva Singh Smith Stone Tanaka Turner Vega Wang Ward White Wolf Wood Yilmaz Young""".split()
CITIES = """Paris London Rome Berlin Madrid Lisbon Oslo Vienna Prague Dublin Athens Cairo Delhi Tokyo Seoul Lima Quito Bogota Boston Chicago Denver
Austin Dallas Toronto Sydney Perth Nairobi Lagos Accra Tunis Hanoi Manila Jakarta Mumbai Beijing Shanghai Osaka Kyoto Geneva Zurich Munich Hamburg Milan
Naples Seville Porto Helsinki Warsaw Krakow Budapest Riga""".split()
COLORS = "red blue green yellow orange purple pink brown black white grey silver golden".split()
ANIMALS = "cat dog rabbit fox bear mouse bird duck frog horse cow pig sheep goat owl lion tiger monkey turtle squirrel hedgehog deer elephant fish".split()
THINGS = "ball book hat kite box lamp key cup chair bell bag drum map coin boat basket blanket stone flower shell ribbon clock spoon bottle umbrella ladder".split()
FOODS = "apple pear plum bread soup cake cheese rice honey carrot banana cookie pie tomato potato egg pancake sandwich salad peach".split()
PLACES = "garden park forest river kitchen school market beach farm library hill village lake bridge barn harbour museum station meadow".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
JOBS = "teacher doctor nurse baker farmer pilot painter driver cook engineer writer singer lawyer gardener plumber dentist designer".split()
HOBBIES = "reading swimming painting cycling cooking chess running singing hiking fishing gardening photography dancing football tennis".split()
TRAITS = "kind brave shy curious happy clever quiet funny gentle lazy careful proud small old young busy".split()
DEPTS = "sales support finance design marketing engineering research legal operations".split()
CODEWORDS = """amber anchor arrow aspen atlas badger bamboo basil beacon birch bison bramble breeze canyon cedar cinder clover cobalt comet copper coral
cosmos cricket crystal delta dune eagle ember falcon fern flint garnet ginger glacier granite hazel heron indigo iris ivory jade jasper juniper lagoon lantern
laurel lemon lilac linen lotus lynx magnet maple marble meadow mercury mint mosaic nectar nickel oasis ocean olive onyx opal orbit orchid otter panther
pearl pebble pepper phoenix pine planet plum prairie quartz quiver raven river rocket ruby saffron salmon sapphire scarlet shadow sierra silver sparrow spruce
summit sunset tango thistle thunder timber topaz tulip tundra velvet violet walnut willow winter zenith zephyr""".split()
CAPITALS = {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Norway": "Oslo", "Sweden": "Stockholm",
            "Finland": "Helsinki", "Denmark": "Copenhagen", "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest", "Greece": "Athens",
            "Ireland": "Dublin", "England": "London", "Scotland": "Edinburgh", "Egypt": "Cairo", "Kenya": "Nairobi", "Ghana": "Accra", "Nigeria": "Abuja",
            "Morocco": "Rabat", "India": "New Delhi", "China": "Beijing", "Japan": "Tokyo", "South Korea": "Seoul", "Vietnam": "Hanoi", "Thailand": "Bangkok",
            "Indonesia": "Jakarta", "Australia": "Canberra", "Canada": "Ottawa", "Mexico": "Mexico City", "Brazil": "Brasilia", "Argentina": "Buenos Aires",
            "Peru": "Lima", "Chile": "Santiago", "Colombia": "Bogota", "Cuba": "Havana", "Turkey": "Ankara", "Russia": "Moscow", "Iceland": "Reykjavik",
            "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Switzerland": "Bern", "the United States": "Washington, D.C.", "Ukraine": "Kyiv",
            "New Zealand": "Wellington", "Iran": "Tehran", "Iraq": "Baghdad", "Nepal": "Kathmandu", "Ethiopia": "Addis Ababa"}
OPPOSITES = [("hot", "cold"), ("big", "small"), ("fast", "slow"), ("happy", "sad"), ("light", "dark"), ("up", "down"), ("open", "closed"), ("old", "new"),
             ("early", "late"), ("hard", "soft"), ("loud", "quiet"), ("wet", "dry"), ("full", "empty"), ("near", "far"), ("rich", "poor"), ("tall", "short"),
             ("clean", "dirty"), ("strong", "weak"), ("high", "low"), ("first", "last"), ("easy", "difficult"), ("heavy", "light"), ("thick", "thin"),
             ("brave", "afraid"), ("day", "night"), ("begin", "end"), ("buy", "sell"), ("push", "pull"), ("win", "lose"), ("true", "false")]
FACTS = [
    ("What color is the sky on a clear day?", "On a clear day, the sky is blue."), ("How many days are in a week?", "There are seven days in a week."),
    ("How many months are in a year?", "There are twelve months in a year."), ("How many hours are in a day?", "There are 24 hours in a day."),
    ("How many minutes are in an hour?", "There are 60 minutes in an hour."), ("How many legs does a spider have?", "A spider has eight legs."),
    ("How many legs does an insect have?", "An insect has six legs."), ("What do bees make?", "Bees make honey."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."), ("At what temperature does water freeze?", "Water freezes at 0 degrees Celsius."),
    ("At what temperature does water boil?", "At sea level, water boils at 100 degrees Celsius."), ("What is the largest ocean?", "The Pacific Ocean is the largest ocean on Earth."),
    ("What is the largest planet in our solar system?", "Jupiter is the largest planet in our solar system."), ("Which planet is closest to the Sun?", "Mercury is the planet closest to the Sun."),
    ("Which planet is known as the red planet?", "Mars is known as the red planet."), ("What is the tallest mountain on Earth?", "Mount Everest is the tallest mountain on Earth."),
    ("What is the fastest land animal?", "The cheetah is the fastest land animal."), ("What is the largest animal?", "The blue whale is the largest animal."),
    ("What do cows eat?", "Cows mostly eat grass."), ("What do plants need to grow?", "Plants need light, water and air to grow."),
    ("Why do leaves fall in autumn?", "Many trees drop their leaves in autumn to save water and energy during the cold months."),
    ("Why is the sky blue?", "Sunlight is made of many colors. The air scatters blue light more than the other colors, so the sky looks blue."),
    ("Why do we sleep?", "Sleep lets the body and the brain rest. It helps us to learn, to grow and to stay healthy."),
    ("What is rain?", "Rain is water that falls from clouds in drops."), ("What is snow?", "Snow is frozen water that falls from clouds as soft white flakes."),
    ("What is a rainbow?", "A rainbow is an arc of colors in the sky. It appears when sunlight shines through drops of water."),
    ("What is the Moon?", "The Moon is a large ball of rock that travels around the Earth."), ("What is the Sun?", "The Sun is a star. It gives the Earth light and warmth."),
    ("What is a computer?", "A computer is a machine that follows instructions to work with information."),
    ("What is the internet?", "The internet is a network that connects computers all over the world."),
    ("What is a language model?", "A language model is a computer program that has learned from text and predicts the next words."),
    ("What is an API?", "An API is a way for one program to ask another program to do something."), ("What is a library?", "A library is a place where people can read and borrow books."),
    ("How do fish breathe?", "Fish breathe with gills, which take oxygen from the water."), ("How do birds fly?", "Birds fly by flapping their wings, which push air down and lift them up."),
    ("What is bread made of?", "Bread is made of flour, water, salt and often yeast."), ("How do I boil an egg?", "Put the egg in boiling water. Wait about eight minutes for a hard egg, or six minutes for a soft one. Then cool it in cold water."),
    ("How do I make tea?", "Boil some water, pour it over a tea bag in a cup, wait three minutes, and take the tea bag out."),
    ("Why should we wash our hands?", "Washing our hands removes dirt and germs, so that we do not get ill as often."),
    ("What is a friend?", "A friend is a person you like, trust and enjoy spending time with."), ("What are the four seasons?", "The four seasons are spring, summer, autumn and winter."),
    ("What are the primary colors?", "The primary colors of paint are red, yellow and blue."), ("What color do you get when you mix blue and yellow?", "When you mix blue and yellow, you get green."),
    ("What color do you get when you mix red and white?", "When you mix red and white, you get pink."), ("What color do you get when you mix red and yellow?", "When you mix red and yellow, you get orange."),
    ("What is the capital of a country?", "The capital is the city where the government of a country works."), ("Who wrote Romeo and Juliet?", "William Shakespeare wrote Romeo and Juliet."),
    ("Is the Earth flat?", "No, the Earth is round. It has the shape of a ball."), ("Can penguins fly?", "No, penguins cannot fly, but they swim very well."),
    ("Do fish live in water?", "Yes, fish live in water."), ("Is ice cold?", "Yes, ice is cold. It is frozen water."), ("What does a clock do?", "A clock shows the time."),
    ("What comes after Monday?", "Tuesday comes after Monday."), ("What month comes after June?", "July comes after June."), ("What is a healthy breakfast?", "A healthy breakfast could be oats with fruit, or eggs with whole-grain bread."),
]


def conv(user, answer, reasoning=None, thinking=False, system=None, tools=None, calls=None):
    m = [{"role": "system", "content": system}] if system else []
    m.append({"role": "user", "content": user})
    a = {"role": "assistant", "content": answer}
    if calls:
        a["tool_calls"] = calls
    if thinking:
        a["reasoning"] = reasoning or ""
    m.append(a)
    return {"m": m, "f": tools, "thinking": thinking}


def name(r):
    return r.choice(FIRST)


def full(r):
    return r.choice(FIRST) + " " + r.choice(LAST)


def date(r):
    return f"{r.randint(1, 28)} {r.choice(MONTHS)} {r.randint(1990, 2030)}"


def code(r):
    k = r.random()
    if k < 0.4:
        return str(r.randint(1000, 9999999))
    if k < 0.7:
        return r.choice(CODEWORDS) + "-" + r.choice(CODEWORDS)
    if k < 0.9:
        return r.choice(CODEWORDS) + "-" + str(r.randint(10, 999))
    return "".join(r.choice(string.ascii_uppercase + string.digits) for _ in range(r.randint(5, 8)))


def cap(s):
    return s[:1].upper() + s[1:]


def an(s):
    return ("an " if s[0] in "aeiou" and not s.startswith("us") else "a ") + s


def join(xs):
    return xs[0] if len(xs) == 1 else ", ".join(xs[:-1]) + " and " + xs[-1]
