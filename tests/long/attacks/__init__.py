"""Attacks on a running server: small named functions, each of which checks its result.

The decorator `attack` registers an attack under a topic; the attack raises `UnexpectedResult` if it succeeds. `run` runs all of them in
shuffled rounds: at most `STARTS_PER_SECOND` start a second, and all together send at most `BYTES_PER_SECOND`, so that two cores keep up.
Long attacks (held connections, slow readers) run beside the others, each only once at the same time."""

import asyncio
import collections
import random
import time

import client

STARTS_PER_SECOND = 12
BYTES_PER_SECOND = 24 << 20
# Maximum seconds of every attack but the slow ones, on two shared cores.
TIMEOUT = 30

TABLE = []


class UnexpectedResult(Exception):
    """An attack succeeded, or its result is not allowed."""


class Attack:
    def __init__(self, topic, lasts, every, run):
        self.name, self.topic, self.lasts, self.every, self.run = run.__name__.replace("_", " "), topic, lasts, every, run
        self.last, self.runs, self.wrong = float("-inf"), 0, []


def attack(topic, lasts=False, every=0):
    """Registers an attack. It `lasts` if it holds something for seconds; it starts at most once in `every` seconds."""

    def register(run):
        TABLE.append(Attack(topic, lasts, every, run))
        return run

    return register


def select(only):
    """Selects the attacks of a topic, or with a word in their name."""
    if only:
        TABLE[:] = [one for one in TABLE if only in (one.topic, *one.name.split(), one.name)]


class Context:
    """The attackers' four keys and one revoked key, and the secrets that no response may contain."""

    def __init__(self, port, keys, revoked, admin, secrets, seed):
        self.port, self.keys, self.revoked, self.admin, self.secrets = port, keys, revoked, admin, [s.encode() for s in secrets]
        self.random = random.Random(seed)
        self.throttle = client.Throttle(BYTES_PER_SECOND)

    @property
    def key(self):
        """One of the keys with a large budget."""
        return self.keys[self.random.choice(["mallory", "mordred"])]

    async def raw(self, payload, *, timeout=TIMEOUT, **more):
        """Sends bytes. A response must not contain a secret, be an internal error, or be missing."""
        reply = await client.send(self.port, payload, timeout=timeout, pace=self.throttle, **more)
        for secret in self.secrets:
            if secret in reply.bytes:
                raise UnexpectedResult(f"a secret was disclosed: {reply}")
        if reply.status == 500:
            raise UnexpectedResult(f"an internal error: {reply}")
        if reply.ended == "late":
            raise UnexpectedResult(f"no end within {timeout} s: {reply}")
        if reply.ended == "refused":
            raise UnexpectedResult("no connection was accepted")
        return reply

    async def post(self, path, body, key=None, headers=(), content_type="application/json", **more):
        return await self.raw(client.request("POST", path, key or self.key, body, headers, content_type), **more)

    async def get(self, path, key=None, method="GET", **more):
        return await self.raw(client.request(method, path, key or self.key), **more)

    def chat(self, text="hello", model="hostile-deepseek/plain", **more):
        return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64, **more}


def expect(reply, *statuses):
    """Checks that the status is one of `statuses`; 2 means 200 to 299, and so on. Anthropic's API returns 529 for 503."""
    status = 503 if reply.status == 529 else reply.status
    if status not in statuses and status // 100 not in statuses:
        raise UnexpectedResult(f"expected {' or '.join(map(str, statuses))}, received {reply}")
    return reply


def is_error(reply):
    """Checks that the response is an error: by its status, by an error in its body, or by an early end."""
    body = reply.body
    if reply.status // 100 == 2 and reply.ended == "complete" and b'"error"' not in body:
        raise UnexpectedResult(f"expected a failure, received {reply}")
    # A response larger than a caller's share of the memory is 413. 402: another attack of the same key reserves its budget.
    if reply.status not in (0, 200, 402, 413, 429) and reply.status // 100 == 4:
        raise UnexpectedResult(f"a failure of the provider is reported as the caller's: {reply}")
    return reply


async def run(context, stop):
    """Runs all attacks, mixed, until `stop` is set."""
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
        due = max(due + 1 / STARTS_PER_SECOND, time.monotonic() - 1)
        await asyncio.sleep(max(0, due - time.monotonic()))
    # Long attacks continue while the server stops.
    return running


async def once(one, context, lasting):
    """Runs one attack and records an unexpected result."""
    try:
        await one.run(context)
    except UnexpectedResult as wrong:
        one.wrong.append(str(wrong))
    except Exception as fault:  # A malformed response counts like a success of the attack.
        one.wrong.append(f"{type(fault).__name__}: {fault}")
    finally:
        one.runs += 1
        lasting.discard(one)
