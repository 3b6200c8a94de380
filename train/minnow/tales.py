"""Short stories that end: a hero, a wish, a trouble, help, and what came of it."""

from conversation import A, C, U, maybe_system, think
from synth.words import ANIMALS, FIRST, TRAITS, an, cap

HEROES = [  # (who, where, what they want, what goes wrong, what helps, how it ends)
    ("baker", "in a small town by a river", "bake the best bread of the valley", "the oven went cold on the morning of the market", "carried wood from every house until the fire burned again", "the whole town ate warm bread together"),
    ("fisherman", "in a village by the sea", "catch one really big fish", "a storm tore the net and broke the oar", "pulled the boat back to the shore with a long rope", "there was fish soup for everybody"),
    ("robot", "in an old workshop", "learn how to paint", "the paint ran out and the brush fell apart", "brought berries for the colors and a feather for a brush", "the walls of the workshop were full of bright pictures"),
    ("dragon", "in a cave above the clouds", "find a friend", "everybody in the valley ran away at the sight of the flames", "showed the others that the fire was good for cold nights", "the children came to the cave every winter to get warm"),
    ("princess", "in a castle with a hundred rooms", "see the world outside the walls", "the gate was locked and the key was lost", "found the key in the nest of a crow", "the gate has been open ever since"),
    ("astronaut", "on a small station above the Moon", "hear music again", "the radio stopped working in the middle of a song", "repaired the radio with a spoon and a piece of wire", "music played on the station all night"),
    ("clockmaker", "in a narrow street of an old city", "build a clock that never stops", "the smallest wheel broke a day before the feast", "cut a new wheel out of a silver coin", "the clock struck twelve, and the square was full of cheering people"),
    ("gardener", "behind the walls of a quiet abbey", "grow a blue rose", "no rain fell for seven weeks", "carried water from the well every evening", "one morning a blue rose stood open in the sun"),
    ("train driver", "in a town between two mountains", "bring the mail through the snow", "a tree lay across the tracks", "pushed the tree aside with twenty passengers", "every letter arrived before Christmas"),
    ("painter", "in an attic with one window", "paint the color of the wind", "nothing on the canvas looked right", "opened the window and let the leaves blow in", "the picture was full of flying leaves, and everybody could feel the wind"),
    ("wizard", "in a tower with no stairs", "remember a forgotten spell", "the book of spells had lost its last page", "remembered the words from a song of childhood", "the tower had stairs again, and guests could come"),
    ("teacher", "in a school with only nine pupils", "show the class the stars", "clouds covered the sky for a month", "painted the stars on the ceiling with chalk", "the class knew every star when the clouds were gone"),
    ("snowman", "in the garden of a big family", "see the spring", "the sun grew stronger every day", "built a cool house of branches in the shade", "the first flower opened while there was still snow on its roof"),
    ("sailor", "on a ship with red sails", "reach an island that is on no map", "the fog hid the stars for three nights", "listened for the birds that fly home in the evening", "the island lay green in front of the ship"),
    ("shepherd", "on a hill above the lake", "find a lost lamb", "it grew dark and began to rain", "lit a lantern and called from rock to rock", "the lamb came running out of the bushes"),
    ("little ghost", "in the cellar of an old hotel", "make the guests laugh", "the guests screamed and ran out into the street", "put on a funny hat and danced in the hall", "guests came from far away to see the show"),
    ("knight", "in a castle on a green hill", "win without a fight", "a giant blocked the only bridge", "asked the giant to play a game of chess", "the giant laughed, lost, and let everybody pass"),
    ("postman", "in a village without roads", "bring every letter on time", "the river carried away the little bridge", "built a raft out of empty barrels", "no letter was ever late again"),
    ("king", "in a land of long winters", "hear the truth for once", "everybody at the court said only what was pleasant", "walked through the streets in a plain coat and listened", "he lowered the taxes, and his people were glad"),
    ("boy", "on a farm at the edge of a forest", "build a kite that reaches the clouds", "the string broke, and the kite flew away", "followed the kite over three hills", "the kite hung in an apple tree, and its owner became a friend"),
    ("girl", "in a house with a round window", "find out where the moon goes in the morning", "she fell asleep every time before it set", "set an alarm clock and made a pot of tea", "she saw the moon sink behind the sea"),
    ("old tree", "in the middle of a park", "keep its last leaf", "the autumn wind blew day and night", "tied the leaf to its branch with a thread", "the leaf was still there when the new ones came"),
]
WANTED = ["a {h}", "a {h}", "a {h} and {a2}", "a brave {h}", "a lonely {h}", "an old {h}", "a {h} who never gives up"]


def tale(r):
    """A story of six to nine sentences, about the hero that was asked for."""
    h, where, want, trouble, helped, end = r.choice(HEROES)
    n, f = r.sample(FIRST, 2)
    animal, trait = r.choice(ANIMALS), r.choice(TRAITS)
    he = "it" if h in ("robot", "dragon", "snowman", "little ghost", "old tree") else "she" if h in ("princess", "girl") else "he" if h in ("king", "boy", "fisherman", "postman", "snowman") else r.choice(["he", "she"])
    his = {"it": "its", "he": "his", "she": "her"}[he]
    with_animal = r.random() < 0.5
    friend = f"{an(r.choice(TRAITS))} {animal} called {f}" if with_animal else f"{his} neighbour {f}"
    text = [r.choice([f"Once upon a time, {an(h)} named {n} lived {where}.", f"{n} was {an(h)} who lived {where}.", f"There was once {an(trait)} {h} called {n}, who lived {where}."]),
            r.choice([f"{n} had only one wish: to {want}.", f"More than anything, {n} wanted to {want}.", f"Every day {n} dreamed of the same thing: to {want}."]),
            r.choice([f"But then {trouble}.", f"One day, however, {trouble}.", f"It was not easy, because {trouble}."]),
            r.choice([f"{n} was sad and did not know what to do.", f"{n} sat down and thought about it for a long time.", f"For a moment {n} wanted to give up."]),
            r.choice([f"Then {friend} came by. \"What is wrong?\" asked {f}. {n} told the whole story.", f"Luckily, {friend} knew what to do. \"Do not give up,\" said {f}. \"I will help you.\""]),
            f"Together they {helped}.",
            r.choice([f"In the end, {end}.", f"And so {end}.", f"At last, {end}."]),
            r.choice([f"{n} smiled, because it had been a good day.", f"\"Thank you,\" said {n} to {f}, and they stayed friends for the rest of their lives.", f"{n} never forgot what a friend can do.", f"From then on {n} and {f} were never alone."])]
    if r.random() < 0.4:
        text[3] = text[3] + "\n\n"
    text = " ".join(text).replace("\n\n ", "\n\n")
    wanted = r.choice(WANTED).format(h=h, a2=f"{an(animal)}" if with_animal else "a friend")
    wanted = wanted.replace("an old old", "an old").replace("a old", "an old").replace("a astronaut", "an astronaut")
    q = r.choice(["Tell me a story about {w}.", "Write a short story about {w}.", "Write a short story about {w}.", "Tell me a short story about {w}.", "Please write a story about {w}.", "Can you tell me a story about {w}?", "I would like to hear a story about {w}.", "write a story about {w}", "Make up a short story about {w}.", "A bedtime story about {w}, please."]).format(w=wanted)
    if r.random() < 0.1:
        q = r.choice(["Tell me a story.", "Tell me a bedtime story.", "Write a short story.", "I want to hear a story.", "Make up a story."])
    return think(C(maybe_system(r, 0.3) + [U(q), A(text)]), f"The user wants a short story. I give {cap(n)} a wish, a problem and a good end.", r, 0.08)
