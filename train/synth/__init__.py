"""Generators of synthetic tasks. Each takes a random.Random and returns one conversation
{"m": messages, "f": tools or None, "thinking": bool}.

Nothing here is downloaded: all names, places and facts are drawn from small lists, so that answers can be checked exactly.
Print one of each with `python -m synth [SEED]`.
"""

from .words import cap, conv  # noqa: F401, used by data.py
from .chat import fact, small_talk
from .numbers import arithmetic, compare, word_problem
from .text import kinds_list, string_task
from .records import action_items, doc_question, json_extract, json_list, json_write, summary, table
from .tools import tool_call
from .stories import story, story_question
from .long import documents, key_values, long_meeting, needle

SHORT = [(small_talk, 10), (fact, 10), (arithmetic, 10), (word_problem, 6), (compare, 3), (string_task, 7), (kinds_list, 4), (json_extract, 8), (json_list, 3), (json_write, 3),
         (doc_question, 8), (summary, 4), (action_items, 6), (table, 6), (tool_call, 14), (story, 6), (story_question, 2)]
LONG = [(needle, 5), (key_values, 3), (documents, 3), (long_meeting, 1)]


def pick(r, table):
    total = sum(w for _, w in table)
    x = r.random() * total
    for fn, w in table:
        x -= w
        if x <= 0:
            return fn
    return table[-1][0]


def short_task(r):
    return pick(r, SHORT)(r)


def long_task(r, n_chars, filler=None):
    fn = pick(r, LONG)
    if fn in (needle, documents):
        return fn(r, n_chars, filler)
    return fn(r, int(min(0.55 * n_chars, 20000)) if fn is key_values else n_chars)  # keys and numbers take more tokens per character
