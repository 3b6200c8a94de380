#!/usr/bin/env python3
"""All attacks mixed, with ordinary traffic beside them that must not notice.

    cargo build --release && python3 tests/long/abuse.py [MINUTES]

Starts a server with the embedded model, a provider that answers as it should (`fake.py`) and one that does not
(`attacks/hostile.py`). Ordinary callers (`ordinary.py`) ask at a steady rate, on every surface, streamed or not, passed,
converted and local. Beside them run, one after the other:

    a busy loop                   as much load as attackers are taken to make
    all of attacks/ for MINUTES   10 when not given; attackers have four keys
    a busy loop                   as much load as the attackers made: their own, their provider's, and the server's for them

Then, while attacks go on, the server is told to stop. Checked is that no ordinary request failed, or took longer by over a
second at the 99th percentile than beside the busy loops; that every record is there, once, at its exact price; that sums hold and
`usage check` agrees; that memory returns to within 10 % of before; that /healthz answered within a second all the time; that each attack got
what it should; and what must not start does not start. Prints `N passed, N failed`; exits 1 when one failed."""

import argparse
import asyncio
import collections
import json
import math
import os
import random
import re
import resource
import sys
import tempfile
import time

import attacks
import client
import fake
import ledger
import ordinary
from attacks import hostile, providers
from beside import Beside, Watch, ask, assault, compute, get, provide
from judging import BUDGETS, HONEST, Checks, judge_books, judge_log, judge_starts, judge_traffic
from server import Server

GRACE = 5
# Of the local model. It is touched page by page, and so is filled before memory is measured.
CACHE = "16MiB"
RATE = 12  # ordinary requests a second
GROWTH = 0.10  # of the resident memory


def settings(folder, good, bad, inflight):
    """The configuration, and the file of prices that it names."""
    rows = [("local", "*", ""), ("midjourney", "*", f"per_call={ordinary.TASK / 1e9}"), ("suno", "*", "per_call=0.02")]
    text = [f"[server]\nshutdown_grace_s={GRACE}"]
    text += [f"inflight_bytes='{inflight}'"] if inflight else []
    text += [f"[store]\nurl='sqlite:{folder}/cachalot.db'\njournal='{folder}/journal'", f"[gateway]\nprices='{folder}/prices.toml'"]
    for hostile_too, port in ((False, good), (True, bad)):
        for dialect in providers.DIALECTS:
            name = f"hostile-{dialect}" if hostile_too else f"good-{dialect}"
            models = [*hostile.MODELS, "film", "paint"] if hostile_too else ["chat", "embed", "paint", "film"]
            version = "v1beta" if dialect == "gemini" else "v1"
            text.append(f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}/{dialect}/{version}'\ndialect='{dialect}'\nprivate=true\nkey_env='KEY_OF_THE_PROVIDER'\nmodels={models}")
            rows += [(name, "*", ""), (name, "paint", f"per_call={ordinary.PICTURE / 1e9}"), (name, "film", f"per_second={ordinary.SECOND / 1e9}")]
    for name, port in (("midjourney", good), ("suno", bad)):
        text.append(f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}'\nprivate=true\nkey_env='KEY_OF_THE_PROVIDER'")
    tokens = f"input={ordinary.INPUT / 1000}\noutput={ordinary.OUTPUT / 1000}"
    with open(f"{folder}/prices.toml", "w") as file:
        for provider, model, amounts in rows:
            file.write(f"[[price]]\nprovider='{provider}'\nmodel='{model}'\nsource='s'\ndate='d'\n{amounts or tokens}\n")
    return "\n".join(text) + "\n"


class Run:
    """The server, its providers, and what happened in each phase."""

    def __init__(self, arguments):
        self.folder = tempfile.mkdtemp(prefix="cachalot-abuse-")
        self.seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        word = lambda name: f"sk-{name}-{random.randbytes(16).hex()}"  # noqa: E731
        self.secrets = {name: word(name.lower()) for name in ("KEY_OF_THE_PROVIDER", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "CACHALOT_SECRET")}
        self.secrets["CACHALOT_ADMIN_TOKEN"] = word("admin")
        self.good = Beside(provide, fake.Provider, ())
        self.bad = Beside(provide, hostile.Hostile, ([value for name, value in self.secrets.items() if name != "KEY_OF_THE_PROVIDER"],))
        cache = ("--cache-memory", CACHE, "--disk-cache", f"{self.folder}/prefix", "--disk-cache-bytes", "64MiB")
        text = settings(self.folder, self.good.first, self.bad.first, arguments.inflight)
        self.server = Server(self.folder, text, cache, self.secrets)
        self.store = f"sqlite:{self.folder}/cachalot.db"
        self.keys = {}
        for name in [*HONEST, *BUDGETS, "revoked"]:
            project = HONEST.get(name, name)
            if project not in {HONEST.get(known, known) for known in self.keys}:
                self.server.run("project", "add", project)
            self.keys[name] = self.server.run("key", "add", name, "--project", project, "--budget", BUDGETS.get(name, "1000000000"))
        self.server.run("key", "revoke", "revoked")
        self.server.start()
        with open(f"{self.folder}/admin-token") as file:
            self.admin = file.read().strip()
        self.local, self.rate, self.results, self.number = arguments.local, arguments.rate, [], 0
        self.filled, self.only = [], arguments.only

    async def fill_cache(self):
        for number in range(4):
            text = " ".join(f"On day {day} the whale went down {number}." for day in range(500))
            body = {"model": "deepseek-chat", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
            reply = await client.send(self.server.port, client.request("POST", "/chat/completions", self.keys["alice"], body))
            counts = reply.json()["usage"]
            self.filled.append(("alice", "local", counts["prompt_tokens"], 1, counts["prompt_tokens"] * ordinary.INPUT + ordinary.OUTPUT))

    def ordinary(self):
        keys = {name: self.keys[name] for name in HONEST}
        return Beside(ask, (self.server.port, keys, self.rate, self.number, self.seed + self.number, self.local))

    def ended(self, traffic):
        results = traffic.stop()
        self.number = max([self.number, *(result.number for result in results)]) + 1
        self.results += results
        return results

    def beside_load(self, seconds, load):
        """Ordinary traffic beside a busy loop of so many cores. Returns its results, and the server's cores meanwhile."""
        traffic, processes = self.ordinary(), math.ceil(load)
        loops = [Beside(compute, load / processes) for _ in range(processes)]
        before, began = self.server.cpu(), time.monotonic()
        time.sleep(seconds)
        cores = (self.server.cpu() - before) / (time.monotonic() - began)
        for loop in loops:
            loop.stop()
        return self.ended(traffic), cores

    def attackers(self):
        keys = {name: self.keys[name] for name in BUDGETS}
        told = [*self.secrets.values(), *(self.keys[name] for name in HONEST)]
        return Beside(assault, (self.server.port, keys, self.keys["revoked"], self.admin, told, self.seed), self.bad.first, self.only)

    def beside_attacks(self, seconds):
        """Ordinary traffic beside all attacks. Returns its results, what the attacks got, and the cores of the server and of the attackers."""
        traffic, attackers = self.ordinary(), self.attackers()
        measures = (self.server.cpu, lambda: attackers.cpu() + self.bad.cpu())
        before, began = [measure() for measure in measures], time.monotonic()
        while time.monotonic() - began < seconds and self.server.alive():
            time.sleep(0.5)
        passed = time.monotonic() - began
        cores = [(measure() - start) / passed for measure, start in zip(measures, before)] if self.server.alive() else [0, 0]
        table = attackers.stop()
        return self.ended(traffic), table, cores


def settle(server, before, patience=60):
    """The resident memory when it is near what it was, or after `patience` seconds."""
    end = time.monotonic() + patience
    while server.memory() > before * (1 + GROWTH) and time.monotonic() < end:
        time.sleep(0.5)
    return server.memory()


def metric(run, name):
    _, text = get(run.server.port, "/metrics", {"authorization": f"Bearer {run.admin}"})
    values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(name + r"[ {]", line)]
    return sum(values), len(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("minutes", nargs="?", type=float, default=10, help="of attacks; the comparison takes as long again, at most 4 minutes")
    parser.add_argument("--rate", type=float, default=RATE, help="ordinary requests a second")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--no-local", dest="local", action="store_false", help="ask nothing of the local model")
    parser.add_argument("--load", type=float, default=1.2, help="cores that attackers are taken to use, before it is known")
    parser.add_argument("--inflight", default="256MiB", help="`inflight_bytes`; empty: the server's default")
    parser.add_argument("--each", type=int, metavar="TIMES", help="instead: each attack alone, so often, one after the other")
    parser.add_argument("--only", help="only attacks whose name or paragraph holds this")
    arguments = parser.parse_args()
    attacks.keep(arguments.only)
    # Connections of a flood are files.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    run, check, began = Run(arguments), Checks(), time.monotonic()
    print(f"seed {run.seed}, {len(attacks.TABLE)} attacks for {arguments.minutes:g} min, in {run.folder}", flush=True)
    try:
        (alone if arguments.each else judge)(run, check, arguments)
    finally:
        if run.server.process and run.server.alive():
            run.server.kill()
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{check.passed} passed, {check.failed} failed")
    sys.exit(1 if check.failed else 0)


def alone(run, check, arguments):
    """Each attack by itself, and a look whether the server still answers. To see what an attack does, not what all of them do."""
    keys = {name: run.keys[name] for name in BUDGETS}
    told = [*run.secrets.values(), *(run.keys[name] for name in HONEST)]
    context = attacks.Context(run.server.port, keys, run.keys["revoked"], run.admin, told, run.seed)
    context.hostile_port = run.bad.first
    for one in sorted(attacks.TABLE, key=lambda one: one.paragraph == "1"):  # Absurd counts, which may spoil the books, come last.
        watch, began = Watch(run.server), time.monotonic()
        for _ in range(arguments.each):
            asyncio.run(attacks.once(one, context, set()))
        seconds = time.monotonic() - began
        watch.end()
        slow = [f"/healthz took {watch.slowest:.1f} s"] if watch.slowest > 1 or watch.failures else []
        check(not one.wrong and not slow, f"{one.paragraph:<5} {one.name}: {seconds / one.runs:.1f} s, at most {watch.most:.0f} MiB {[wrong[:300] for wrong in one.wrong[:1]] + slow}")
        if slow or not run.server.alive():
            run.server.kill()
            run.server.start()
            context.port = run.server.port
    status, seconds = run.server.stop(GRACE + 60)
    check(status == 0 and seconds <= GRACE + 10, f"SIGTERM ends the server within its grace: {seconds:.1f} s, status {status}")
    judge_books(check, run)
    judge_log(check, run)
    faults = run.bad.stop()
    check(not faults, f"the hostile provider got nothing that it should not {dict(collections.Counter(faults).most_common(5))}")


def judge(run, check, arguments):
    server, watch = run.server, Watch(run.server)
    if arguments.local:
        asyncio.run(run.fill_cache())
    compared = min(120, arguments.minutes * 30)
    run.beside_load(min(20, compared / 2), 0.5)  # Caches fill, connections are made.
    before, quiet_cores = run.beside_load(compared, arguments.load)
    memory_before = server.memory()
    attacked, table, (cores, theirs) = run.beside_attacks(arguments.minutes * 60)
    if not server.alive():
        check(False, f"the server ended under attack: {open(server.log).read()[-500:]}")
    memory_after = settle(server, memory_before) if server.alive() else math.inf
    pending, metrics_bytes = metric(run, "cachalot_usage_records_pending") if server.alive() else (math.nan, 0)
    load = max(0.1, theirs + cores - quiet_cores)
    print(f"attackers and their provider used {theirs:.2f} cores, the server {cores:.2f} instead of {quiet_cores:.2f}", flush=True)
    after, _ = run.beside_load(compared, load) if server.alive() else ([], 0)
    watch.end()

    judge_traffic(check, run, before + after, attacked)
    check(watch.slowest <= 1 and not watch.failures, f"/healthz answers within 1 s: {watch.slowest:.3f} s at most, {len(watch.failures)} failures {watch.failures[:2]}")
    check(memory_after <= memory_before * (1 + GROWTH), f"resident memory: {memory_before:.0f} MiB before, {watch.most:.0f} at most, {memory_after:.0f} after")
    check(pending == 0, f"{pending:g} records wait to be committed")
    check(metrics_bytes <= 1 << 20, f"/metrics has {metrics_bytes} bytes")
    if server.alive():
        attackers = run.attackers()
        time.sleep(5)
        status, seconds = server.stop(GRACE + 60)
        check(status == 0 and seconds <= GRACE + 10, f"SIGTERM ends the server within its grace of {GRACE} s under attack: {seconds:.1f} s, status {status}")
        attackers.stop()
    check(not ledger.left_in_journal(server), f"nothing is left in the journal or in quarantine {ledger.left_in_journal(server)}")
    try:
        judge_books(check, run)
    except Exception as error:  # A store that cannot be read is a fault of its own.
        check(False, f"the books cannot be read: {type(error).__name__}: {error}")
    clean, report = ledger.check(server)
    check(clean, f"`usage check` finds nothing {'' if clean else json.dumps(report)[:500]}")
    judge_log(check, run)

    print(f"\n{'§':<5} {'attack':<50} {'runs':>6} {'wrong':>6}")
    for paragraph, name, runs, wrong in sorted(table):
        print(f"{paragraph:<5} {name:<50} {runs:>6} {len(wrong):>6}  {collections.Counter(w[:60] for w in wrong).most_common(1)[0][0] if wrong else ''}")
    for paragraph, name, runs, wrong in sorted(table):
        if wrong:
            print(f"  {name}: {wrong[0][:600]}")
    wrong = [name for _, name, _, wrong in table if wrong]
    never = [name for _, name, runs, _ in table if not runs]
    check(not wrong, f"every attack got what it should ({len(wrong)} of {len(table)} did not: {wrong})")
    if arguments.minutes >= 2:
        check(not never, f"every attack was tried {never}")
    faults = run.bad.stop()
    check(not faults, f"the hostile provider got nothing that it should not {dict(collections.Counter(faults).most_common(5))}")
    check(not (faults := run.good.stop()), f"the provider that answers as it should had no fault {faults[:3]}")

    judge_starts(check, server)


if __name__ == "__main__":
    main()
