"""Runs the code of an answer: Python in a subprocess with limits of time and memory, SQL in an
SQLite database in memory.

The subprocess refuses files, processes and sockets by an audit hook. This protects against the
accidents of a small model and is not a sandbox against an attacker.
"""

import re
import sqlite3
import subprocess
import sys
import tempfile

RUNNER = '''
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
import collections, functools, itertools, math, random, re, string, types, typing  # loaded before files are refused
code, name, arity, tests = (sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
def refuse(event, args):
    if event.split(".")[0] in ("os", "subprocess", "socket", "shutil", "ctypes", "pty", "urllib", "http", "ftplib", "smtplib", "tempfile", "sqlite3", "fcntl", "mmap"):
        raise PermissionError(event)
    if event == "open" and args[1] not in (None, "r", "rb"):
        raise PermissionError(event)
sys.addaudithook(refuse)
space = {"__name__": "answer"}
exec(compile(code, "answer", "exec"), space)
made = [f for n, f in space.items() if isinstance(f, types.FunctionType) and f.__code__.co_filename == "answer"]
if name:
    f = space.get(name)
    assert isinstance(f, types.FunctionType), "the function " + name + " is missing"
else:
    fitting = [f for f in made if f.__code__.co_argcount - len(f.__defaults__ or ()) <= arity <= f.__code__.co_argcount]
    assert fitting, "a function of " + str(arity) + " arguments is missing"
    f = fitting[-1]
exec(tests, {"f": f})
'''


def blocks(text, language, start):
    """Code of an answer: its fenced blocks, or the text from the first line on that looks like
    code."""
    fenced = re.findall(r"```[ \t]*(\w*)[^\n]*\n(.*?)(?:```|\Z)", text, re.S)
    if fenced:
        return [code for tag, code in fenced if tag.lower() in (language, "", "py", "python3", "sqlite", "mysql", "postgresql") and re.search(start, code, re.M | re.I)]
    at = re.search(start, text, re.M | re.I)
    if not at:
        return []
    lines = text[at.start():].splitlines()
    end = next((i for i, x in enumerate(lines) if i and x.strip() and not x.startswith((" ", "\t", "#", "def ", "return", "import", "from ", "print", "assert"))), len(lines))
    return ["\n".join(lines[:end])] if language == "python" else [text[at.start():].split("\n\n")[0]]


def failure(spec, text):
    return python_failure(spec, text) if spec["language"] == "python" else sql_failure(spec, text)


def python_failure(spec, text):
    found = blocks(text, "python", r"^\s*(?:import |from |def |\w+\s*=\s*lambda)")
    code = next((c for c in found if "def " in c or "lambda" in c), None)
    if code is None:
        return "has no Python function"
    with tempfile.TemporaryDirectory() as folder:
        try:
            p = subprocess.run([sys.executable, "-I", "-S", "-c", RUNNER, code, spec.get("name", ""), str(spec["arity"]), spec["tests"]],
                               cwd=folder, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
        except subprocess.TimeoutExpired:
            return "its code does not end"
    return None if p.returncode == 0 else f"its code fails: {(p.stderr.strip().splitlines() or ['killed'])[-1][:200]}"


def sql_failure(spec, text):
    found = blocks(text, "sql", r"^\s*(?:SELECT|WITH)\b")
    if not found:
        return "has no SELECT"
    query = found[0].strip().split(";")[0]
    db = sqlite3.connect(":memory:")
    db.executescript(spec["setup"])
    db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33) else sqlite3.SQLITE_DENY)
    db.set_progress_handler(lambda: 1, 1_000_000)
    try:
        values = {str(v) for row in db.execute(query) for v in row}
    except sqlite3.Error as e:
        return f"its query fails: {e}"
    if not set(spec["values"]) <= values:
        return f"its query misses {sorted(set(spec['values']) - values)}"
    wrong = set(spec["not_values"]) & values
    return f"its query returns {sorted(wrong)}" if wrong else None
