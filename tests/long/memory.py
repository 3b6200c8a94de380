#!/usr/bin/env python3
"""The memory of a server under attack, with 16 ordinary streams beside it.

    cargo build --release && python3 tests/long/memory.py [SECONDS]

Starts a server without a model under `prlimit --data` of 1 GiB, then one with the fixture model under 2 GiB, each with a
correct provider (`fake_provider.py`) and a hostile one (`attacks/hostile_provider.py`). The in-flight budget is the default, a quarter
of the limit. Each attack runs repeatedly for SECONDS (default 30), with four keys, while 16 streams of other keys continue. The test checks
that the server survives, that the streams neither fail nor are refused, that /healthz answers within a second, and that memory returns
to within 10 %. Prints VmHWM, the peak of resident memory, after each attack, and `N passed, N failed`; exits with 1 if one failed.
Linux only."""

import argparse
import asyncio
import hashlib
import math
import resource
import statistics
import sys
import tempfile
import time

import client
import fake_provider
from attacks import hostile_provider
from attacks.memory import long_prompt, gzip_of, small_objects
from worker_processes import WorkerProcess, run_provider
from server import Server

MIB = 1 << 20
STREAMS = 16
MAX_MEMORY_GROWTH = 0.10
NOISE = 4  # MiB: of a process of 25, the tables of a few more metrics and connections are a tenth
ATTACKERS = [f"sk-attacker-{n}-{'f00d' * 6}" for n in range(4)]
ORDINARY = [f"sk-ordinary-{n}-{'cafe' * 6}" for n in range(4)]
REFUSED = {400, 413, 503, 529}


def settings(good, bad):
    text = ["[store]\nurl='off'"]
    for key in ATTACKERS + ORDINARY:
        text.append(f"[[server.keys]]\nname='{key[3:15]}'\nsha256='{hashlib.sha256(key.encode()).hexdigest()}'")
    for name, dialect, port in (("good", "deepseek", good), ("claude", "anthropic", good), ("bad", "deepseek", bad)):
        models = hostile_provider.MODELS if name == "bad" else ["chat"]
        text.append(f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}/{dialect}/v1'\ndialect='{dialect}'\nprivate=true\nkey_env='KEY_OF_THE_PROVIDER'\nmodels={models}")
    return "\n".join(text) + "\n"


class Limited(Server):
    """A server that may allocate at most `limit` bytes."""

    def __init__(self, limit, *arguments):
        super().__init__(*arguments, environment={"KEY_OF_THE_PROVIDER": "sk-provider-0123456789"})
        self.limit = limit

    def start(self):
        # The limit is inherited; this process itself needs no more.
        before = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (self.limit, before[1]))
        try:
            super().start()
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)


class Streams:
    """16 clients that stream one answer after the other."""

    def __init__(self, port):
        self.port, self.over, self.times, self.first, self.faults = port, False, [], [], []

    async def one(self, n):
        while not self.over:
            model = ["good/chat", "claude/chat"][n % 2]
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": f"#{11 + 12 * n}. Tell me. " + "Word. " * 200}]}
            reply = await client.send(self.port, client.request("POST", "/v1/chat/completions", ORDINARY[n % 4], body), timeout=60)
            if reply.status != 200 or b"data: [DONE]" not in reply.body or b'"error"' in reply.body:
                self.faults.append(str(reply))
            self.times.append(reply.total)
            self.first.append(reply.first or reply.total)
            await asyncio.sleep(0.05)

    async def health(self):
        while not self.over:
            reply = await client.send(self.port, client.request("GET", "/healthz"), timeout=30)
            if reply.status != 200:
                self.faults.append(f"/healthz: {reply}")
            self.slowest = max(getattr(self, "slowest", 0), reply.total)
            await asyncio.sleep(0.2)

    async def stream_during(self, attack):
        """Streams until `attack` ends, and returns its result."""
        going = [asyncio.create_task(self.one(n)) for n in range(STREAMS)] + [asyncio.create_task(self.health())]
        try:
            return await attack
        finally:
            self.over = True
            await asyncio.gather(*going)


def late_share(times):
    times = sorted(times)
    return times[min(len(times) - 1, math.ceil(0.99 * len(times)) - 1)] if times else 0.0


async def post_gzip(port, key, path, body, statuses):
    reply = await client.send(port, client.request("POST", path, key, body, ["content-encoding: gzip"]), timeout=60)
    statuses[reply.status] = statuses.get(reply.status, 0) + 1


async def object_bombs(port, statuses):
    """Eight bodies of a few KB that expand to 490,000 objects each, on four APIs."""
    paths = ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1beta/models/claude/chat:generateContent"]
    await asyncio.gather(*(post_gzip(port, ATTACKERS[n % 4], paths[n // 2], small_objects(490_000), statuses) for n in range(8)))


async def field_bombs(port, statuses):
    """Objects with one field, which need the most memory for their size."""
    head = b'{"model":"claude/chat","max_tokens":4,"messages":[{"role":"user","content":"x"}],"metadata":['
    body = gzip_of((head, 1), (b'{"a":1},', 480_000), (b"{}]}", 1))
    await asyncio.gather(*(post_gzip(port, ATTACKERS[n % 4], "/v1/chat/completions", body, statuses) for n in range(8)))


async def half_sent_bodies(port, statuses):
    """60 bodies of 30 MB of which only 20 MB are sent."""
    async def half(n):
        head = client.request("POST", "/v1/chat/completions", ATTACKERS[n % 4], b"").replace(b"content-length: 0", b"content-length: 30000000")
        reply = await client.send(port, [head + b'{"model":"good/chat","messages":[{"role":"user","content":"', *[b"x" * MIB] * 20], timeout=8)
        statuses[reply.status] = statuses.get(reply.status, 0) + 1

    await asyncio.gather(*(half(n) for n in range(60)))


async def long_prompts(port, statuses):
    """Prompts of 25 MB, forwarded and converted."""
    async def one(n):
        body = {"model": ["good/chat", "claude/chat"][n % 2], "max_tokens": 4, "messages": [{"role": "user", "content": "A line of text.\n" * 1_500_000}]}
        reply = await client.send(port, client.request("POST", "/v1/chat/completions", ATTACKERS[n % 4], body), timeout=60)
        statuses[reply.status] = statuses.get(reply.status, 0) + 1

    await asyncio.gather(*(one(n) for n in range(8)))


async def endless_responses(port, statuses):
    """Endless responses, with and without line breaks, streaming and not."""
    async def one(n, model, stream):
        body = {"model": f"bad/{model}", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        path = ["/v1/chat/completions", "/v1/responses", "/v1/messages"][n % 3]
        body |= {"input": "x"} if n % 3 == 1 else {"max_tokens": 9}
        reply = await client.send(port, client.request("POST", path, ATTACKERS[n % 4], body), timeout=15)
        statuses[reply.status] = statuses.get(reply.status, 0) + 1

    models = [model for model in hostile_provider.MODELS if model.startswith("endless") or model in ("flood", "gzip-bomb", "keys", "choices")]
    await asyncio.gather(*(one(n, model, stream) for n, (model, stream) in enumerate((m, s) for m in models for s in (True, False))))


async def tokenizer_bombs(port, statuses):
    """30 MB of one repeated piece, for the local model, in a few KB of gzip."""
    pieces = [b"7", b"word ", b" ", b"x"]
    bodies = [long_prompt("deepseek-chat", piece, 30_000_000) for piece in pieces]
    paths = ["/chat/completions", "/v1/messages/count_tokens"]
    await asyncio.gather(*(post_gzip(port, ATTACKERS[n % 4], paths[n // 4], bodies[n % 4], statuses) for n in range(8)))


ATTACKS = {attack.__name__: attack for attack in (object_bombs, field_bombs, half_sent_bodies, long_prompts, endless_responses, tokenizer_bombs)}


class Checks:
    passed = failed = 0

    def check(self, ok, name, detail=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print("ok" if ok else "not ok", name, detail if not ok else "", flush=True)


def repeat_attack(name, port, pipe, stop):
    """Repeats an attack in a separate process, so that the streams do not wait for its sender."""

    async def run():
        rounds, statuses = 0, {}
        while rounds == 0 or not stop.is_set():
            await ATTACKS[name](port, statuses)
            rounds += 1
        pipe.send((rounds, statuses))

    pipe.send(None)
    asyncio.run(run())


async def run_attack(attack, port, seconds):
    """Runs an attack for `seconds`; returns the number of rounds and of each status."""
    worker = await asyncio.to_thread(WorkerProcess, repeat_attack, attack.__name__, port)
    await asyncio.sleep(seconds)
    return await asyncio.to_thread(worker.stop)


def wait_for_memory(server, before, seconds=20):
    """Waits until resident memory is within the bound, for at most `seconds`, and returns it."""
    until = time.monotonic() + seconds
    while (now := server.memory()) > before * (1 + MAX_MEMORY_GROWTH) + NOISE and time.monotonic() < until:
        time.sleep(0.25)
    return now


def run(checks, title, server, attacks, seconds):
    server.start()
    try:
        # One-time allocations (threads, connections, tables of metrics) do not count as growth.
        for attack in attacks:
            asyncio.run(Streams(server.port).stream_during(attack(server.port, {})))
        quiet, cpu = Streams(server.port), server.cpu()
        asyncio.run(quiet.stream_during(asyncio.sleep(seconds / 3)))
        cpu = 1000 * (server.cpu() - cpu) / len(quiet.times)
        checks.check(not quiet.faults, f"{title}: streams without an attack", quiet.faults[:2])
        time.sleep(15)
        before = server.memory()
        print(f"{title}: {before:.0f} MiB before; streams take {statistics.median(quiet.times):.2f} s, 99 % {late_share(quiet.times):.2f} s, and {cpu:.2f} ms of processor each")
        for attack in attacks:
            streams, cpu = Streams(server.port), server.cpu()
            rounds, statuses = asyncio.run(streams.stream_during(run_attack(attack, server.port, seconds)))
            name = f"{title}: {attack.__name__}"
            checks.check(server.alive(), f"{name}: the server lives")
            if not server.alive():
                return
            answered = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))
            print(f"{name}: {rounds} rounds, {answered}; VmHWM {server.memory('VmHWM'):.0f} MiB, now {server.memory():.0f}, VmData {server.memory('VmData'):.0f}; cpu {server.cpu() - cpu:.0f} s; streams {len(streams.times)}, median {statistics.median(streams.times):.2f} s, 99 % {late_share(streams.times):.2f} s, first 99 % {late_share(streams.first):.2f} s; /healthz {streams.slowest:.2f} s")
            checks.check(not streams.faults, f"{name}: {len(streams.times)} streams of other keys continue", streams.faults[:2])
            checks.check(streams.slowest < 1, f"{name}: /healthz within a second", f"{streams.slowest:.2f} s")
            after = wait_for_memory(server, before)
            checks.check(after <= before * (1 + MAX_MEMORY_GROWTH) + NOISE, f"{name}: memory returns", f"{before:.0f} to {after:.0f} MiB")
        most = server.memory("VmHWM")
        checks.check(most < server.limit / MIB, f"{title}: VmHWM {most:.0f} MiB of {server.limit // MIB}")
    finally:
        if server.alive():
            server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seconds", type=float, nargs="?", default=30)
    parser.add_argument("--only", choices=["gateway", "local"])
    arguments = parser.parse_args()
    checks = Checks()
    good = WorkerProcess(run_provider, fake_provider.Provider, ())
    bad = WorkerProcess(run_provider, hostile_provider.HostileProvider, ([],))
    try:
        with tempfile.TemporaryDirectory(prefix="cachalot-memory-") as folder:
            text = settings(good.first_message, bad.first_message)
            if arguments.only != "local":
                server = Limited(1 << 30, f"{folder}/gateway", text)
                run(checks, "1 GiB, no model", server, [object_bombs, field_bombs, half_sent_bodies, long_prompts, endless_responses], arguments.seconds)
            if arguments.only != "gateway":
                cache = ("--model", "fixture", "--cache-memory", "64MiB", "--disk-cache", "off")
                server = Limited(2 << 30, f"{folder}/local", text, cache)
                run(checks, "2 GiB, local model", server, [tokenizer_bombs, object_bombs], arguments.seconds)
    finally:
        for process in (good, bad):
            process.stop()
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
