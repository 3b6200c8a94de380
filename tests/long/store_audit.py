"""Reads records and sums of a store and checks that they balance: SQLite, or PostgreSQL by `psql`. Standard library only."""

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
    written: int
    written_1h: int
    completion: int
    reasoning: int
    cost: int
    estimated: int
    outcome: str
    extra: dict
    tier: str


def query(store, text):
    """The rows of a read-only statement."""
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
    columns = "key_name, model, upstream, prompt_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, completion_tokens, reasoning_tokens, cost, estimated, outcome"
    rows = query(store, f"select {columns}, coalesce(extra_counts, '{{}}'), coalesce(service_tier, '') from usage_records")
    # A sum that overflowed in SQLite is a REAL, which must be reported and not rounded.
    return [Record(row[0], row[1], row[2], *(as_integer(n) for n in row[3:11]), row[11], json.loads(row[12]), row[13]) for row in rows]


def as_integer(number):
    if isinstance(number, float):
        raise ValueError(f"the store holds {number}, which is not an integer")
    return int(number)


def spent(store):
    """The spent amounts of keys and projects, by name."""
    keys = {name: as_integer(n) for name, n in query(store, "select name, spent from keys")}
    projects = {name: as_integer(n) for name, n in query(store, "select name, spent from projects")}
    return keys, projects


def unbalanced(store):
    """Keys and projects whose `spent` is not the sum of their records, and tables of sums that differ from them.

    The sums are computed here, because they can overflow in SQL."""
    sums = {}
    for key, project, cost in query(store, "select key_id, project_id, cost from usage_records"):
        for account in (("keys", key), ("projects", project)):
            sums[account] = sums.get(account, 0) + as_integer(cost)
    found = []
    for table in ("keys", "projects"):
        for account, name, amount in query(store, f"select id, name, spent from {table}"):
            total = sums.get((table, account), 0)
            if isinstance(amount, float) or int(amount) != total:
                found.append(f"{table}: `{name}` has spent {amount}, its records are {total}")
    counted = "case when outcome = 'refunded' then 0 else 1 + further_requests end"
    expected = query(store, f"select coalesce(sum({counted}), 0), coalesce(sum(cost), 0) from usage_records")
    for table in ("usage_hours", "usage_days"):
        sums = query(store, f"select coalesce(sum(requests), 0), coalesce(sum(cost), 0) from {table}")
        if sums != expected:
            found.append(f"{table}: the requests and costs are {sums}, of the records {expected}")
    return found


def check(server):
    """The result of `cachalot usage check`: whether it is clean, and its report."""
    done = server.command("usage", "check", "--json")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = (done.stdout + done.stderr).strip()[:2000]
    return done.returncode == 0, report


def unflushed_records(server):
    """Names of files that the journal of a stopped server still holds, and of quarantined records."""
    folder = os.path.join(server.folder, "journal")
    # If the journal is in the data folder, the lock of the server is in it too.
    names = [name for name in os.listdir(folder) if name != "server.lock"] if os.path.isdir(folder) else []
    beside = [name for name in os.listdir(server.folder) if "quarantine" in name]
    return sorted(names + beside)
