#!/usr/bin/env python3
"""All attacks, mixed, with ordinary traffic beside them that must not be affected.

    cargo build --release && python3 tests/long/abuse.py [MINUTES]

Starts a server with the fixture model, a correct provider (`fake_provider.py`) and a hostile one (`attacks/hostile_provider.py`).
Ordinary clients (`background_traffic.py`) send requests at a steady rate to every API, streaming or not, forwarded, converted and local.
Beside them run, one after the other:

    a busy loop                   as much load as expected of the attackers
    all of attacks/ for MINUTES   10 when not given; attackers have four keys
    a busy loop                   as much load as measured of the attackers, their provider, and the server for them

Then the server is stopped during attacks. The test checks that no ordinary request failed or took over a second longer at the 99th
percentile than beside the busy loops; that every usage record exists once at its exact price; that sums balance and `usage check` agrees;
that memory returns to within 10 %; that /healthz always answered within a second; that each attack failed; and that invalid starts are
refused. Prints `N passed, N failed`; exits with 1 if one failed."""

import argparse
import asyncio
import collections
import json
import math
import random
import re
import resource
import sys
import tempfile
import time

import attacks
import client
import fake_provider
import store_audit
import background_traffic
from attacks import hostile_provider, providers
from worker_processes import HealthMonitor, WorkerProcess, busy_loop, get, run_attackers, run_provider, run_traffic
from assertions import BUDGETS, KEY_PROJECTS, Checks, check_records, check_log, check_starts, check_traffic
from server import Server

SHUTDOWN_GRACE_S = 5
# Cache of the local model. The system assigns its memory page by page, so it is filled before memory is measured.
CACHE = "16MiB"
REQUESTS_PER_SECOND = 12  # ordinary requests a second
BURST = 200  # ordinary requests at once while the server warms up
MAX_WARM_UP_ROUNDS = 12
IDLE_CONNECTIONS_END_S = 90  # idle connections to providers are closed after this time
MAX_MEMORY_GROWTH = 0.10  # of the resident memory


def settings(folder, good, bad, inflight):
    """Writes the file of prices and returns the configuration."""
    rows = [("local", "*", ""), ("midjourney", "*", f"per_call={background_traffic.TASK / 1e9}"), ("suno", "*", "per_call=0.02")]
    text = [f"[server]\nshutdown_grace_s={SHUTDOWN_GRACE_S}"]
    text += [f"inflight_bytes='{inflight}'"] if inflight else []
    text += [f"[store]\nurl='sqlite:{folder}/cachalot.db'\njournal='{folder}/journal'", f"[gateway]\nprices='{folder}/prices.toml'"]
    for hostile_too, port in ((False, good), (True, bad)):
        for dialect in providers.DIALECTS:
            name = f"hostile-{dialect}" if hostile_too else f"good-{dialect}"
            models = [*hostile_provider.MODELS, "film", "paint"] if hostile_too else ["chat", "embed", "paint", "film"]
            version = "v1beta" if dialect == "gemini" else "v1"
            text.append(f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}/{dialect}/{version}'\ndialect='{dialect}'\nprivate=true\nkey_env='KEY_OF_THE_PROVIDER'\nmodels={models}")
            rows += [(name, "*", ""), (name, "paint", f"per_call={background_traffic.PICTURE / 1e9}"), (name, "film", f"per_second={background_traffic.SECOND / 1e9}")]
    for name, port in (("midjourney", good), ("suno", bad)):
        text.append(f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}'\nprivate=true\nkey_env='KEY_OF_THE_PROVIDER'")
    tokens = f"input={background_traffic.INPUT / 1000}\noutput={background_traffic.OUTPUT / 1000}"
    with open(f"{folder}/prices.toml", "w") as file:
        for provider, model, amounts in rows:
            file.write(f"[[price]]\nprovider='{provider}'\nmodel='{model}'\nsource='s'\ndate='d'\n{amounts or tokens}\n")
    return "\n".join(text) + "\n"


class Run:
    """The server, its providers, and the results of each phase."""

    def __init__(self, arguments):
        self.folder = tempfile.mkdtemp(prefix="cachalot-abuse-")
        self.seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        word = lambda name: f"sk-{name}-{random.randbytes(16).hex()}"  # noqa: E731
        self.secrets = {name: word(name.lower()) for name in ("KEY_OF_THE_PROVIDER", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "CACHALOT_SECRET")}
        self.secrets["CACHALOT_ADMIN_TOKEN"] = word("admin")
        self.good = WorkerProcess(run_provider, fake_provider.Provider, ())
        self.bad = WorkerProcess(run_provider, hostile_provider.HostileProvider, ([value for name, value in self.secrets.items() if name != "KEY_OF_THE_PROVIDER"],))
        cache = ("--model", "fixture", "--cache-memory", CACHE, "--disk-cache", f"{self.folder}/prefix", "--disk-cache-bytes", "64MiB")
        text = settings(self.folder, self.good.first_message, self.bad.first_message, arguments.inflight)
        self.server = Server(self.folder, text, cache, self.secrets)
        self.store = f"sqlite:{self.folder}/cachalot.db"
        self.keys = {}
        for name in [*KEY_PROJECTS, *BUDGETS, "revoked"]:
            project = KEY_PROJECTS.get(name, name)
            if project not in {KEY_PROJECTS.get(known, known) for known in self.keys}:
                self.server.run("project", "add", project)
            self.keys[name] = self.server.run("key", "add", name, "--project", project, "--budget", BUDGETS.get(name, "1000000000"))
        self.server.run("key", "revoke", "revoked")
        self.server.start()
        with open(f"{self.folder}/admin-token") as file:
            self.admin = file.read().strip()
        self.local, self.rate, self.results, self.number = arguments.local, arguments.rate, [], 0
        self.filled, self.only = [], arguments.only

    async def warm_up(self):
        """Ordinary work that uses most of the memory budget, until resident memory no longer grows.

        So attacks are compared with a server that has worked. The work fills caches, the buffers of the largest batch, and the
        allocator's own tables, which grow with the peak of allocated memory and of connections and are never returned.
        """
        if self.local:
            await asyncio.gather(*(self.fill_cache(number) for number in range(4)))
        most = 0
        for _ in range(MAX_WARM_UP_ROUNDS):
            traffic = background_traffic.Traffic(*self.traffic_arguments())
            await traffic.run_long_chats(rounds=2)
            self.results += await traffic.run_burst(BURST)
            self.number = max(result.number for result in self.results) + 1
            await asyncio.sleep(3)  # The allocator returns memory within a fraction of a second.
            memory = self.server.memory()
            if memory < 1.01 * most:
                break
            most = memory

    async def fill_cache(self, number):
        text = " ".join(f"On day {day} the whale went down {number}." for day in range(500))
        body = {"model": "deepseek-chat", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
        reply = await client.send(self.server.port, client.request("POST", "/chat/completions", self.keys["alice"], body))
        counts = reply.json()["usage"]
        self.filled.append(("alice", "local", counts["prompt_tokens"], 1, counts["prompt_tokens"] * background_traffic.INPUT + background_traffic.OUTPUT))

    def traffic_arguments(self):
        keys = {name: self.keys[name] for name in KEY_PROJECTS}
        return self.server.port, keys, self.rate, self.number, self.seed + self.number, self.local

    def ordinary(self):
        return WorkerProcess(run_traffic, self.traffic_arguments())

    def stop_traffic(self, traffic):
        results = traffic.stop()
        self.number = max([self.number, *(result.number for result in results)]) + 1
        self.results += results
        return results

    def beside_load(self, seconds, load):
        """Ordinary traffic beside a busy loop of `load` cores. Returns its results, and the cores used by the server."""
        traffic, processes = self.ordinary(), math.ceil(load)
        loops = [WorkerProcess(busy_loop, load / processes) for _ in range(processes)]
        before, began = self.server.cpu(), time.monotonic()
        time.sleep(seconds)
        cores = (self.server.cpu() - before) / (time.monotonic() - began)
        for loop in loops:
            loop.stop()
        return self.stop_traffic(traffic), cores

    def attackers(self):
        keys = {name: self.keys[name] for name in BUDGETS}
        secrets = [*self.secrets.values(), *(self.keys[name] for name in KEY_PROJECTS)]
        return WorkerProcess(run_attackers, (self.server.port, keys, self.keys["revoked"], self.admin, secrets, self.seed), self.bad.first_message, self.only)

    def beside_attacks(self, seconds):
        """Ordinary traffic beside all attacks. Returns its results, those of the attacks, and the cores used by the server and by the attackers."""
        traffic, attackers = self.ordinary(), self.attackers()
        measures = (self.server.cpu, lambda: attackers.cpu() + self.bad.cpu())
        before, began = [measure() for measure in measures], time.monotonic()
        while time.monotonic() - began < seconds and self.server.alive():
            time.sleep(0.5)
        passed = time.monotonic() - began
        cores = [(measure() - start) / passed for measure, start in zip(measures, before)] if self.server.alive() else [0, 0]
        table = attackers.stop()
        return self.stop_traffic(traffic), table, cores


def wait_for_memory(server, before, timeout_s=IDLE_CONNECTIONS_END_S + 60):
    """Waits until resident memory is near `before`, for at most `timeout_s` seconds, and returns it."""
    end = time.monotonic() + timeout_s
    while server.memory() > before * (1 + MAX_MEMORY_GROWTH) and time.monotonic() < end:
        time.sleep(0.5)
    return server.memory()


def metric(run, name):
    _, text = get(run.server.port, "/metrics", {"authorization": f"Bearer {run.admin}"})
    values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(name + r"[ {]", line)]
    return sum(values), len(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("minutes", nargs="?", type=float, default=10, help="of attacks; the comparison takes as long again, at most 4 minutes")
    parser.add_argument("--rate", type=float, default=REQUESTS_PER_SECOND, help="ordinary requests a second")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--no-local", dest="local", action="store_false", help="without requests to the local model")
    parser.add_argument("--load", type=float, default=1.2, help="expected load of the attackers in cores, for the first comparison")
    parser.add_argument("--inflight", default="256MiB", help="`inflight_bytes`; empty: the server's default")
    parser.add_argument("--each", type=int, metavar="TIMES", help="run each attack alone instead, TIMES times")
    parser.add_argument("--only", help="only attacks of this topic, or with this word in their name")
    arguments = parser.parse_args()
    attacks.select(arguments.only)
    # Connections of a flood are files.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    run, check, began = Run(arguments), Checks(), time.monotonic()
    print(f"seed {run.seed}, {len(attacks.TABLE)} attacks for {arguments.minutes:g} min, in {run.folder}", flush=True)
    try:
        (run_each if arguments.each else check_all)(run, check, arguments)
    finally:
        if run.server.process and run.server.alive():
            run.server.kill()
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{check.passed} passed, {check.failed} failed")
    sys.exit(1 if check.failed else 0)


def run_each(run, check, arguments):
    """Runs each attack alone and checks that the server still answers, to see the effect of a single attack."""
    keys = {name: run.keys[name] for name in BUDGETS}
    secrets = [*run.secrets.values(), *(run.keys[name] for name in KEY_PROJECTS)]
    context = attacks.Context(run.server.port, keys, run.keys["revoked"], run.admin, secrets, run.seed)
    context.hostile_port = run.bad.first_message
    for one in sorted(attacks.TABLE, key=lambda one: one.topic == "1"):  # Absurd counts, which may damage records, come last.
        watch, began = HealthMonitor(run.server), time.monotonic()
        for _ in range(arguments.each):
            asyncio.run(attacks.once(one, context, set()))
        seconds = time.monotonic() - began
        watch.end()
        slow = [f"/healthz took {watch.slowest:.1f} s"] if watch.slowest > 1 or watch.failures else []
        check(not one.wrong and not slow, f"{one.topic:<5} {one.name}: {seconds / one.runs:.1f} s, at most {watch.most:.0f} MiB {[wrong[:300] for wrong in one.wrong[:1]] + slow}")
        if slow or not run.server.alive():
            run.server.kill()
            run.server.start()
            context.port = run.server.port
    status, seconds = run.server.stop(SHUTDOWN_GRACE_S + 60)
    check(status == 0 and seconds <= SHUTDOWN_GRACE_S + 10, f"SIGTERM ends the server within its grace: {seconds:.1f} s, status {status}")
    check_records(check, run)
    check_log(check, run)
    faults = run.bad.stop()
    check(not faults, f"the hostile provider received nothing that it should not {dict(collections.Counter(faults).most_common(5))}")


def check_all(run, check, arguments):
    server, watch = run.server, HealthMonitor(run.server)
    cold = server.memory()
    asyncio.run(run.warm_up())
    compared = min(120, arguments.minutes * 30)
    run.beside_load(min(20, compared / 2), 0.5)  # Caches fill, connections are made.
    before, quiet_cores = run.beside_load(compared, arguments.load)
    memory_before = server.memory()
    attacked, table, (cores, theirs) = run.beside_attacks(arguments.minutes * 60)
    if not server.alive():
        check(False, f"the server ended under attack: {open(server.log).read()[-500:]}")
    memory_after = wait_for_memory(server, memory_before) if server.alive() else math.inf
    pending, metrics_bytes = metric(run, "cachalot_usage_records_pending") if server.alive() else (math.nan, 0)
    load = max(0.1, theirs + cores - quiet_cores)
    print(f"attackers and their provider used {theirs:.2f} cores, the server {cores:.2f} instead of {quiet_cores:.2f}", flush=True)
    after, _ = run.beside_load(compared, load) if server.alive() else ([], 0)
    watch.end()

    check_traffic(check, run, before + after, attacked)
    check(watch.slowest <= 1 and not watch.failures, f"/healthz answers within 1 s: {watch.slowest:.3f} s at most, {len(watch.failures)} failures {watch.failures[:2]}")
    check(memory_after <= memory_before * (1 + MAX_MEMORY_GROWTH), f"resident memory: {cold:.0f} MiB after the start, {memory_before:.0f} before the attacks, {watch.most:.0f} at most, {memory_after:.0f} after")
    check(pending == 0, f"{pending:g} usage records are pending")
    check(metrics_bytes <= 1 << 20, f"/metrics has {metrics_bytes} bytes")
    if server.alive():
        attackers = run.attackers()
        time.sleep(5)
        status, seconds = server.stop(SHUTDOWN_GRACE_S + 60)
        check(status == 0 and seconds <= SHUTDOWN_GRACE_S + 10, f"SIGTERM ends the server within its grace of {SHUTDOWN_GRACE_S} s under attack: {seconds:.1f} s, status {status}")
        attackers.stop()
    check(not store_audit.unflushed_records(server), f"nothing is left in the journal or in quarantine {store_audit.unflushed_records(server)}")
    try:
        check_records(check, run)
    except Exception as error:  # An unreadable store is reported as a failure.
        check(False, f"the records cannot be read: {type(error).__name__}: {error}")
    clean, report = store_audit.check(server)
    check(clean, f"`usage check` finds nothing {'' if clean else json.dumps(report)[:500]}")
    check_log(check, run)

    print(f"\n{'§':<5} {'attack':<50} {'runs':>6} {'wrong':>6}")
    for topic, name, runs, wrong in sorted(table):
        print(f"{topic:<5} {name:<50} {runs:>6} {len(wrong):>6}  {collections.Counter(w[:60] for w in wrong).most_common(1)[0][0] if wrong else ''}")
    for topic, name, runs, wrong in sorted(table):
        if wrong:
            print(f"  {name}: {wrong[0][:600]}")
    wrong = [name for _, name, _, wrong in table if wrong]
    never = [name for _, name, runs, _ in table if not runs]
    check(not wrong, f"every attack failed ({len(wrong)} of {len(table)} did not: {wrong})")
    if arguments.minutes >= 2:
        check(not never, f"every attack was tried {never}")
    faults = run.bad.stop()
    check(not faults, f"the hostile provider received nothing that it should not {dict(collections.Counter(faults).most_common(5))}")
    check(not (faults := run.good.stop()), f"the correct provider had no fault {faults[:3]}")

    check_starts(check, server)


if __name__ == "__main__":
    main()
