#!/usr/bin/env python3
"""Measures the console's calls, and the migration, with a million records of 30 days on SQLite.

    tests/console/million.py             # target/release/cachalot; CACHALOT=... names another program
    tests/console/million.py --tries 5   # instead of 50

Fails if the 95th percentile of a call is above 300 ms, or if the migration takes more than 60 s or leaves a request unanswered.
*Cold* is the first call of each kind on a server that was just started, whose database is not in the page cache. All cores of the machine
count: run it while nothing else runs. Needs about 2 GB in the folder for temporary files, and no package.
"""

import argparse
import http.client
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
SQL = ROOT / "crates/store/tests/store"
DAY = 86_400
LIMIT_MS = 300
MIGRATION_LIMIT_S = 60


class Server:
    """A server on a data folder, with the model that is built in."""

    def __init__(self, binary, folder):
        self.folder = folder
        self.binary, self.config = binary, folder / "cachalot.toml"
        self.config.write_text(f"[store]\nurl = 'sqlite:{folder}/cachalot.db'\njournal = '{folder}/journal'\n[cache]\ndisk = false\n")
        self.environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}

    def run(self, *arguments):
        """A command on the data folder, while no server runs."""
        command = [self.binary, *arguments, "--config", str(self.config)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def start(self):
        self.log = open(self.folder / "log", "w+")
        command = [self.binary, "serve", "--model", "fixture", "--config", str(self.config), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log, env={**self.environment, "CACHALOT_LOG": "info"})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            log = (self.folder / "log").read_text()
            if self.process.poll() is not None:
                sys.exit(f"the server ended:\n{log}")
            if "listening on http://" in log:
                self.address = log.split("listening on http://")[1].split()[0]
                break
            time.sleep(0.005)
        else:
            sys.exit(f"the server did not start:\n{log}")
        self.token = (self.folder / "admin-token").read_text().strip()
        self.connection = http.client.HTTPConnection(self.address, timeout=120)

    def stop(self):
        self.connection.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def get(self, path, accept="application/json"):
        self.connection.request("GET", path, headers={"authorization": f"Bearer {self.token}", "accept": accept})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"GET {path}: {answer.status} {body[:300]!r}")
        return body

    def cpu_seconds(self):
        """CPU time of the threads of the server."""
        times = (pathlib.Path(f"/proc/{self.process.pid}/task") / thread / "schedstat" for thread in os.listdir(f"/proc/{self.process.pid}/task"))
        return sum(int(time.read_text().split()[0]) for time in times) / 1e9


def calls_of_pages(now, cursor, record):
    """The calls of each page, as the console makes them: page, path, accepted type."""
    hour, day = now // 3600 * 3600 + 3600, now // DAY * DAY + DAY
    spans = {
        "1 h": (now // 60 * 60 + 60, 3600, "minute"),
        "24 h": (hour, DAY, "hour"),
        "7 d": (hour, 7 * DAY, "hour"),
        "30 d": (day, 30 * DAY, "day"),
        "1 y": (day, 365 * DAY, "day"),
        "6 h, drawn": (now // 60 * 60 - 9 * 3600, 6 * 3600, "minute"),
        "14 d, drawn": (hour - 2 * DAY, 14 * DAY, "hour"),
    }

    def series(span, **parameters):
        to, length, step = spans[span]
        return "/admin/series?" + urllib.parse.urlencode({"from": to - length, "to": to, "step": step, **parameters})

    def records(**parameters):
        return "/admin/records?" + urllib.parse.urlencode({"from": day - 30 * DAY, **parameters})

    yield from (("Overview", path, None) for path in [
        "/admin/me", "/admin/keys", "/admin/projects", series("24 h", by="model", top=5), series("30 d"), "/admin/models", "/admin/engine",
        "/admin/health?hours=24", "/admin/records?limit=6",
    ])
    yield from (("Requests", path, None) for path in [
        records(limit=50), records(limit=50, cursor=cursor), records(limit=50, key="key-3"), records(limit=50, model="model-5", provider="provider-1"),
        records(limit=50, outcome="failed"), records(limit=50, outcome="refused"), records(limit=50, model="none"), f"/admin/records/{record}",
    ])
    yield "Requests", records(limit=1000), "text/csv"
    for span in spans:
        yield "Usage", series(span, by="model", top=5), None
        yield "Usage", series(span, by="outcome"), None
    for by in ["key", "project", "provider"]:
        yield "Usage", series("14 d, drawn", by=by, top=5), None
    yield "Usage", series("14 d, drawn", by="model", top=5, key="key-3"), None
    yield "Usage", series("30 d", by="key", top=20), "text/csv"
    yield "Usage", "/admin/usage?by=key&days=30", None
    yield from (("Models", path, None) for path in ["/api/models", "/admin/aliases", "/admin/prices"])
    yield from (("Providers", path, None) for path in ["/admin/providers", "/admin/health?hours=168"])
    yield from (("Users", path, None) for path in ["/admin/users", "/admin/sessions"])
    yield "Settings", "/admin/config", None


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def forget_pages(folder):
    """Drops the database from the page cache."""
    for file in folder.glob("cachalot.db*"):
        with open(file, "rb+") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def migrate(server):
    """Starts the server on tables of the version before, and asks the model until the sums are filled in. Returns whether all is well."""
    waits, refused = [], []
    done = threading.Event()

    def ask(address, key):
        connection = http.client.HTTPConnection(address, timeout=60)
        body = json.dumps({"model": "deepseek-chat", "max_tokens": 1, "messages": [{"role": "user", "content": "Say hi"}]})
        while not done.is_set():
            started = time.monotonic()
            connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}", "content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            waits.append(time.monotonic() - started)
            if answer.status != 200:
                refused.append(f"{answer.status} {text[:200]!r}")
            time.sleep(0.1)

    key = (server.folder / "key").read_text()
    started = time.monotonic()
    server.start()
    ready = time.monotonic() - started
    requests = threading.Thread(target=ask, args=(server.address, key))
    requests.start()
    database = sqlite3.connect(server.folder / "cachalot.db")
    while database.execute("select until from usage_sums_pending").fetchone()[0] > 0:
        if time.monotonic() - started > 20 * MIGRATION_LIMIT_S:
            sys.exit("the migration does not end")
        time.sleep(0.05)
    taken = time.monotonic() - started
    done.set()
    requests.join()
    database.close()
    server.stop()
    print(
        f"migration: listening after {ready:.1f} s, sums filled in after {taken:.1f} s; {len(waits)} requests meanwhile, "
        f"{len(refused)} refused, p95 {percentile(waits, 0.95) * 1000:.0f} ms, the slowest {max(waits) * 1000:.0f} ms"
    )
    for reason in refused[:3]:
        print(f"  refused: {reason}")
    started = time.monotonic()
    check = server.run("usage", "check")
    print(f"usage check, {time.monotonic() - started:.1f} s: {(check.stdout.splitlines() or check.stderr.splitlines())[-1]}")
    return taken <= MIGRATION_LIMIT_S and not refused and check.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tries", type=int, default=50)
    tries = parser.parse_args().tries
    binary = os.environ.get("CACHALOT", str(ROOT / "target/release/cachalot"))
    with tempfile.TemporaryDirectory(prefix="cachalot-million-") as name:
        folder = pathlib.Path(name)
        server = Server(binary, folder)
        (folder / "key").write_text(server.run("key", "add", "bench").stdout.strip())
        database = sqlite3.connect(folder / "cachalot.db")
        database.executescript((SQL / "before_sums.sql").read_text())
        now = int(time.time())
        database.execute((SQL / "million_records.sql").read_text(), [(now - 30 * DAY) * 1_000_000])
        database.commit()
        database.close()
        print(f"a million records; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        is_well = migrate(server)

        server.start()
        page = json.loads(server.get("/admin/records?limit=100"))
        calls = list(calls_of_pages(now, page["next"], page["data"][50]["id"]))
        warm, cpu = {}, {}
        for call in calls:
            server.get(*call[1:] if call[2] else call[1:2])
            before, warm[call] = server.cpu_seconds(), []
            for _ in range(tries):
                started = time.monotonic()
                server.get(*call[1:] if call[2] else call[1:2])
                warm[call].append((time.monotonic() - started) * 1000)
            cpu[call] = (server.cpu_seconds() - before) * 1000 / tries
        server.stop()
        cold = {call: [] for call in calls}
        for number in range(tries):
            forget_pages(folder)
            server.start()
            # Each call is the first one in turn.
            first = number % len(calls)
            for call in calls[first:] + calls[:first]:
                started = time.monotonic()
                server.get(*call[1:] if call[2] else call[1:2])
                cold[call].append((time.monotonic() - started) * 1000)
            server.stop()

        print(f"{'page':9} {'cold p50':>8} {'p95':>6} {'warm p50':>8} {'p95':>6} {'CPU':>6}   (ms)")
        slow = 0
        for call in calls:
            columns = [percentile(cold[call], 0.5), percentile(cold[call], 0.95), percentile(warm[call], 0.5), percentile(warm[call], 0.95)]
            is_slow = max(columns[1], columns[3]) > LIMIT_MS
            slow += is_slow
            print(
                f"{call[0]:9} {columns[0]:8.1f} {columns[1]:6.1f} {columns[2]:8.1f} {columns[3]:6.1f} {cpu[call]:6.1f}   "
                f"{call[1]}{' as CSV' if call[2] else ''}{'  <- above ' + str(LIMIT_MS) if is_slow else ''}"
            )
        print(f"load of the machine {os.getloadavg()[0]:.1f}; {slow} of {len(calls)} calls above {LIMIT_MS} ms at the 95th percentile")
        sys.exit(0 if is_well and slow == 0 else 1)


if __name__ == "__main__":
    main()
