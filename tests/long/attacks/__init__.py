"""Attacks on a running server: small functions with a name, each of which knows what has to come of it.

An attack is registered by the decorator `attack` under the paragraph that it tries, and raises `Wrong` where it got what it
should not get. `run` mixes them: in shuffled rounds, at most `STARTS` begin a second, and all of them together send at most
`BYTES` a second, so that two cores can go on. Those that last (held connections, slow readers) run beside the others, one of a
kind at a time."""

import asyncio
import collections
import random
import time

import client

STARTS = 12
BYTES = 24 << 20
# The longest that anything but a slow attack may take while two cores are shared with it.
PATIENCE = 30

TABLE = []


class Wrong(Exception):
    """An attack got what it should not have got."""


class Attack:
    def __init__(self, paragraph, lasts, every, run):
        self.name, self.paragraph, self.lasts, self.every, self.run = run.__name__.replace("_", " "), paragraph, lasts, every, run
        self.last, self.runs, self.wrong = float("-inf"), 0, []


def attack(paragraph, lasts=False, every=0):
    """Registers an attack. It `lasts` when it holds something for seconds; the next begins no sooner than after `every` seconds."""

    def register(run):
        TABLE.append(Attack(paragraph, lasts, every, run))
        return run

    return register


def keep(only):
    """Only the attacks of a paragraph, or with a word in their name."""
    if only:
        TABLE[:] = [one for one in TABLE if only in (one.paragraph, *one.name.split(), one.name)]


class Context:
    """What attackers have: four keys, one that was revoked, and what must never be seen by them."""

    def __init__(self, port, keys, revoked, admin, secrets, seed):
        self.port, self.keys, self.revoked, self.admin, self.secrets = port, keys, revoked, admin, [s.encode() for s in secrets]
        self.random = random.Random(seed)
        self.tokens, self.filled = BYTES, time.monotonic()

    @property
    def key(self):
        """One of those that have money."""
        return self.keys[self.random.choice(["mallory", "mordred"])]

    async def pace(self, n):
        while True:
            now = time.monotonic()
            self.tokens, self.filled = min(BYTES, self.tokens + (now - self.filled) * BYTES), now
            if self.tokens > 0:
                self.tokens -= n
                return
            await asyncio.sleep(0.01)

    async def raw(self, payload, *, patience=PATIENCE, **more):
        """Sends bytes. No answer may hold a secret, blame the server itself, or stay out."""
        reply = await client.send(self.port, payload, patience=patience, pace=self.pace, **more)
        for secret in self.secrets:
            if secret in reply.bytes:
                raise Wrong(f"a secret was told: {reply}")
        if reply.status == 500:
            raise Wrong(f"an internal error: {reply}")
        if reply.ended == "late":
            raise Wrong(f"no end within {patience} s: {reply}")
        if reply.ended == "refused":
            raise Wrong("no connection was accepted")
        return reply

    async def post(self, path, body, key=None, headers=(), kind="application/json", **more):
        return await self.raw(client.request("POST", path, key or self.key, body, headers, kind), **more)

    async def get(self, path, key=None, method="GET", **more):
        return await self.raw(client.request(method, path, key or self.key), **more)

    def chat(self, text="hello", model="hostile-deepseek/plain", **more):
        return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64, **more}


def expect(reply, *statuses):
    """One of these statuses, where 2 stands for all of 200 to 299, and so on. Anthropic's surface says 529 for 503."""
    status = 503 if reply.status == 529 else reply.status
    if status not in statuses and status // 100 not in statuses:
        raise Wrong(f"{' or '.join(map(str, statuses))} was to come, not {reply}")
    return reply


def failed(reply):
    """The caller was told that there is no answer: by the status, by an error in it, or by an end before its end."""
    body = reply.body
    if reply.status // 100 == 2 and reply.ended == "whole" and b'"error"' not in body:
        raise Wrong(f"a failure was to come, not {reply}")
    # An answer that is larger than a caller's share of the memory is 413.
    if reply.status not in (0, 200, 413, 429) and reply.status // 100 == 4:
        raise Wrong(f"the provider's failure is none of the caller's, but {reply}")
    return reply


async def run(context, stop):
    """All attacks, mixed, until told to stop."""
    running, lasting, due, rounds = set(), set(), time.monotonic(), collections.deque()
    while not stop.is_set():
        if not rounds:
            rounds.extend(context.random.sample(TABLE, len(TABLE)))
        one, now = rounds.popleft(), time.monotonic()
        if one in lasting or now - one.last < one.every:
            continue
        one.last = now
        if one.lasts:
            lasting.add(one)
        running.add(task := asyncio.create_task(once(one, context, lasting)))
        task.add_done_callback(running.discard)
        while len(running) - len(lasting) > 8 and not stop.is_set():
            await asyncio.sleep(0.05)
        due = max(due + 1 / STARTS, time.monotonic() - 1)
        await asyncio.sleep(max(0, due - time.monotonic()))
    # What lasts goes on while the server is told to stop.
    return running


async def once(one, context, lasting):
    """One attack, and what was wrong with what came of it."""
    try:
        await one.run(context)
    except Wrong as wrong:
        one.wrong.append(str(wrong))
    except Exception as fault:  # An attack that cannot be read is told like one that succeeded.
        one.wrong.append(f"{type(fault).__name__}: {fault}")
    finally:
        one.runs += 1
        lasting.discard(one)
