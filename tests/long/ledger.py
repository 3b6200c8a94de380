"""What a store says of money, and whether it adds up: SQLite or PostgreSQL (by `psql`). Standard library only."""

import json
import os
import sqlite3
import subprocess
from typing import NamedTuple


class Record(NamedTuple):
    key: str
    model: str
    provider: str
    prompt: int
    cached: int
    completion: int
    cost: int
    estimated: int
    outcome: str


def query(store, text):
    """The rows of a statement that only reads."""
    if store.startswith("sqlite:"):
        database = sqlite3.connect(f"file:{store.removeprefix('sqlite:')}?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(text).fetchall()
        finally:
            database.close()
    command = ["psql", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", store, "-c", text]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [tuple(line.split("\t")) for line in output.splitlines()]


def records(store):
    columns = "key_name, model, upstream, prompt_tokens, cached_tokens, completion_tokens, cost, estimated, outcome"
    rows = query(store, f"select {columns} from usage_records")
    # A sum that overflowed in SQLite is a REAL, and that is a fault to be seen, not to be rounded.
    return [Record(row[0], row[1], row[2], *(whole(n) for n in row[3:8]), row[8]) for row in rows]


def whole(number):
    if isinstance(number, float):
        raise ValueError(f"the store holds {number}, which is not an integer")
    return int(number)


def spent(store):
    """What keys and projects have spent, by name."""
    keys = {name: whole(n) for name, n in query(store, "select name, spent from keys")}
    projects = {name: whole(n) for name, n in query(store, "select name, spent from projects")}
    return keys, projects


def differences(store):
    """Keys and projects whose `spent` is not the sum of their records; empty when the books are right.

    Sums are made here and not in SQL, where they overflow."""
    sums = {}
    for key, project, cost in query(store, "select key_id, project_id, cost from usage_records"):
        for account in (("keys", key), ("projects", project)):
            sums[account] = sums.get(account, 0) + whole(cost)
    found = []
    for table in ("keys", "projects"):
        for account, name, amount in query(store, f"select id, name, spent from {table}"):
            total = sums.get((table, account), 0)
            if isinstance(amount, float) or int(amount) != total:
                found.append(f"{table}: `{name}` has spent {amount}, its records are {total}")
    return found


def check(server):
    """What `cachalot usage check` finds: (clean, its report)."""
    done = server.command("usage", "check", "--json")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = (done.stdout + done.stderr).strip()[:2000]
    return done.returncode == 0, report


def left_in_journal(server):
    """Names of files that the journal of a stopped server still holds, and of quarantined records."""
    folder = os.path.join(server.folder, "journal")
    # The lock of a data folder that is the journal's stays where it is.
    names = [name for name in os.listdir(folder) if name != "server.lock"] if os.path.isdir(folder) else []
    beside = [name for name in os.listdir(server.folder) if "quarantine" in name]
    return sorted(names + beside)
