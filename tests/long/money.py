#!/usr/bin/env python3
"""Money under fire: requests with random hang-ups, failures and failovers, while the gateway, and PostgreSQL, are killed again and again.

    cargo build --release && python3 tests/long/money.py [REQUESTS] [KILLS] [REPLICAS]
    tests/services.sh python3 tests/long/money.py      # on PostgreSQL (CACHALOT_TEST_POSTGRES) and Redis (CACHALOT_TEST_REDIS), which several replicas need

Two fake providers of one model answer whole or streamed, refuse, break off, count nothing or what cannot be, send HTML, and give their
tasks ids that others have too. The prompt tokens of an answer are the number of its request, so that each record can be found. Beside
the keys of the model there are one that buys only what has a fixed price, one whose worst cases are known beforehand (and a setting of
`overdraft`, drawn at random), two tenants with tasks under the same ids, and a canary that must never wait for anybody's record.

Then, of the store: every answer that a client saw whole is booked exactly once at its exact price; no answer is booked twice; what was
cut off, and what was counted absurdly, costs no more than was sent; what a kill cut off costs no more than its reservation; keys and projects
have spent the sum of their records, and `cachalot usage check` agrees; budgets are used up and not overrun by more than they may be; the
journals are empty. Exits 1 at the first that does not hold. 20000 requests, 10 kills and one replica when not given."""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import client
import fake
import ledger
from attacks.hostile import ABSURD
from server import Server

INPUT, OUTPUT = 1000, 2000  # nano-dollars a token: a dollar, and two, per million
SECOND, PICTURE = 1_000_000, 3_000_000
MAX_TOKENS = 40
KEYS = 4
AT_ONCE = 48
# Of a hundred requests, those that are not of the first keys.
STRICT, FIXED, TASKS = 4, 4, 4
# The longest that a record of the canary's may wait while nothing is killed.
WAIT = 10


class Provider(fake.HttpServer):
    """Chat completions and videos. Remembers the most words it sent for each request."""

    def __init__(self):
        super().__init__()
        self.sent, self.absurd, self.asked, self.pages = {}, set(), 0, 0

    async def answer(self, asked, writer):
        self.asked += 1
        if "/videos" in asked.path or "/images" in asked.path:
            return self.buy(asked, writer)
        ask = asked.json()
        number, words = ask["number"], random.randint(1, 12)
        usage = json.dumps({"prompt_tokens": number, "completion_tokens": words, "total_tokens": number + words})
        if ask["model"] == "honest":
            # As much as was asked for, of a prompt that has no more tokens than a third of its bytes.
            usage = json.dumps({"prompt_tokens": 5, "completion_tokens": ask.get("max_tokens", 5000)})
            return self.send(writer, 200, self.whole(3, usage))
        luck = random.random()
        if luck < 0.06:
            status, body = random.choice([(500, "broken"), (429, "slow down"), (401, "bad key"), (400, "odd")])
            return self.send(writer, status, {"error": {"message": body}})
        if luck < 0.08:
            return False
        if luck < 0.10:
            self.pages += 1
            return self.send(writer, 200, b"<html><body>Please log in</body></html>", random.choice(["text/html", "application/json", "text/event-stream"]))
        if luck < 0.13:
            self.absurd.add(number)
            value = random.choice([value for name, value in ABSURD.items() if name not in ("null", "true", "twice", "5000")])
            usage = random.choice(['{"prompt_tokens":%s,"completion_tokens":3}', '{"prompt_tokens":3,"completion_tokens":%s}']) % value
        if not ask.get("stream"):
            self.sent[number] = max(words, self.sent.get(number, 0))
            return self.send(writer, 200, self.whole(words, usage))
        self.begin(writer)
        breaks = random.random() < 0.05
        for word in range(words):
            self.sent[number] = max(word + 1, self.sent.get(number, 0))
            self.event(writer, '{"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}')
            await writer.drain()
            if random.random() < 0.2:
                await asyncio.sleep(random.random() * 0.01)
            if breaks and random.random() < 0.3:
                return False
        self.event(writer, '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
        self.event(writer, '{"choices":[],"usage":%s}' % usage)
        self.event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    def whole(words, usage):
        message = json.dumps({"role": "assistant", "content": "word " * words})
        return b'{"choices":[{"index":0,"message":%s,"finish_reason":"stop"}],"usage":%s}' % (message.encode(), usage.encode())

    def event(self, writer, data):
        self.chunk(writer, f"data: {data}\n\n".encode())

    def buy(self, asked, writer):
        """Pictures, and videos under ids that are not unique. One in four of those fails."""
        if "/images" in asked.path:
            return self.send(writer, 200, {"created": 1, "data": [{"url": "x"}] * asked.json()["n"]})
        if asked.method == b"POST":
            return self.send(writer, 200, {"id": f"video_{random.randrange(8)}", "object": "video", "status": "queued"})
        name = asked.path.rsplit("/", 1)[1]
        return self.send(writer, 200, {"id": name, "object": "video", "status": "failed" if name in ("video_0", "video_4") else "completed"})


def gateway(folder, ports, store, redis, overdraft):
    """One replica. What it has of its own is its folder."""
    os.makedirs(folder, exist_ok=True)
    prices, text = f"{folder}/prices.toml", f"[store]\nurl='{store}'\njournal='{folder}/journal'\n{redis}[gateway]\nprices='{folder}/prices.toml'\n{overdraft}"
    with open(prices, "w") as file:
        for name in ("one", "two"):
            for model, amounts in (("*", f"input={INPUT / 1000}\noutput={OUTPUT / 1000}"), ("film", f"per_second={SECOND / 1e9}"), ("paint", f"per_call={PICTURE / 1e9}")):
                file.write(f"[[price]]\nprovider='{name}'\nmodel='{model}'\nsource='s'\ndate='d'\n{amounts}\n")
    for name, port in zip(("one", "two"), ports):
        models = "['m','honest','film','paint']"
        text += f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}/v1'\ndialect='deepseek'\nprivate=true\nmodels={models}\n"
    return Server(folder, text)


class Callers:
    """All who ask, and what they saw."""

    def __init__(self, gateways, keys):
        self.gateways, self.keys = gateways, keys
        self.whole, self.in_flight, self.pages, self.strangers, self.orphans, self.blocked = {}, set(), [], [], [], []
        self.killed, self.longest_wait, self.canaries, self.over = time.monotonic(), 0.0, 0, False

    async def send(self, key, method, path, body=b"", **more):
        payload = client.request(method, path, self.keys[key], body)
        while True:
            reply = await client.send(random.choice(self.gateways).port, payload, **more)
            if reply.ended != "refused":
                return reply
            await asyncio.sleep(0.01)  # It was killed a moment ago.

    async def one(self, number):
        self.in_flight.add(number)
        kind = number % 100
        if kind < STRICT:
            most = {"max_tokens": random.randint(1, 200)} if number % 2 else {}
            await self.send("strict", "POST", "/v1/chat/completions", {"model": "honest", "number": number, **most, "messages": [{"role": "user", "content": "x" * 60}]})
        elif kind < STRICT + FIXED:
            path, body = random.choice([("/v1/videos", {"model": "film", "prompt": "x", "seconds": random.choice(["4", "12"])}), ("/v1/images/generations", {"model": "paint", "prompt": "x", "n": random.randint(1, 4)})])
            await self.send("fixed", "POST", path, body)
        elif kind < STRICT + FIXED + TASKS:
            await self.task(*random.sample(["left", "right"], 2))
        else:
            words = await self.ask(number)
            if words is not None:
                self.whole[number] = words
        self.in_flight.discard(number)

    async def ask(self, number):
        """How many words a client saw of a whole answer; None of one that was not whole."""
        stream, leaves = random.random() < 0.6, random.random() < 0.1
        body = {"model": "m", "number": number, "stream": stream, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": "x" * random.randint(1, 300)}]}
        leave = random.randint(1, 900) if leaves else None
        reply = await self.send(f"key{number % KEYS}", "POST", "/v1/chat/completions", body, leave_after=leave)
        said = reply.bytes
        if b"<html" in said:
            self.pages.append(number)
            return None
        if leaves or reply.status != 200 or reply.ended != "whole" or b'"error"' in said:
            return None
        return said.count(b"word ") if not stream or b"[DONE]" in said else None

    async def task(self, owner, stranger):
        """Its owner can follow it, and nobody else, whatever its provider calls it."""
        reply = await self.send(owner, "POST", "/v1/videos", {"model": "film", "prompt": "x", "seconds": "4"})
        task = reply.json() if reply.status == 200 and reply.ended == "whole" else None
        if not task:
            return
        path, until = f"/v1/videos/{task['id']}", time.monotonic() + 30
        # What one replica has taken and not booked when it is killed is known to the others when it is back.
        while (reply := await self.send(owner, "GET", path)).status == 404 and time.monotonic() < until:
            await asyncio.sleep(0.2)
        if reply.status == 404:
            self.orphans.append(task["id"])
        if (await self.send(stranger, "GET", path)).status == 200:
            self.strangers.append(task["id"])

    async def canary(self, store):
        """Asks ten times a second, and looks whether its records are booked."""
        waiting, cost, looked = [], 5 * INPUT + 2 * OUTPUT, time.monotonic()
        while not self.over:
            body = {"model": "honest", "number": 0, "max_tokens": 2, "messages": [{"role": "user", "content": "x" * 60}]}
            reply = await self.send("canary", "POST", "/v1/chat/completions", body, patience=30)
            now, quiet = time.monotonic(), time.monotonic() - self.killed > WAIT + 5
            if reply.status == 200 and reply.ended == "whole":
                self.canaries += 1
                waiting.append(now)
            elif reply.status not in (0, 200) or quiet:
                self.blocked.append(str(reply))
            if now - looked > 2:
                looked = now
                try:
                    rows = await asyncio.to_thread(ledger.query, store, "select spent from keys where name = 'canary'")
                except Exception:  # The database is being killed.
                    continue
                # What a kill cut off was booked by its prompt alone, and may be so in place of another.
                unbooked = self.canaries - int(rows[0][0]) // cost
                oldest = waiting[-unbooked] if 0 < unbooked <= len(waiting) else now
                if now - self.killed > now - oldest + 5:
                    self.longest_wait = max(self.longest_wait, now - oldest)
                del waiting[:-1000]
            await asyncio.sleep(0.1)


async def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    replicas = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    seed = random.randrange(1 << 32)
    random.seed(seed)
    folder = tempfile.mkdtemp()
    server = os.environ.get("CACHALOT_TEST_POSTGRES")
    name = f"cachalot_money_{seed}"
    if server:
        subprocess.run(["psql", "-q", server, "-c", f"create database {name}"], check=True)
        store = server.rsplit("/", 1)[0] + "/" + name
    else:
        store = f"sqlite:{folder}/0/cachalot.db"
    redis = os.environ.get("CACHALOT_TEST_REDIS")
    if replicas > 1 and not (server and redis):
        sys.exit("several replicas need PostgreSQL and Redis: tests/services.sh python3 tests/long/money.py ...")
    # What a request may cost beyond what is left, in nano-dollars; None: the last request may cost what it costs.
    overdraft = random.choice([None, 0, 1_000_000])
    amount = "'last-request'" if overdraft is None else f"{overdraft / 1e9:.9f}"
    setting = f"overdraft={amount}\n"
    print(f"seed {seed}, {requests} requests, {kills} kills, {replicas} replicas, {store.split(':')[0]}{', redis' if redis else ''}, {setting.strip()}, in {folder}", flush=True)
    providers = [Provider(), Provider()]
    ports = [await provider.start() for provider in providers]
    gateways = [gateway(f"{folder}/{replica}", ports, store, f"redis='{redis}'\n" if redis else "", setting) for replica in range(replicas)]
    # Three keys have a third of what their requests would cost.
    others = (100 - STRICT - FIXED - TASKS) / 100
    budgets = {
        f"key{KEYS - 1}": int(requests * others / KEYS * (requests // 2) * INPUT / 3),
        "strict": int(requests * STRICT / 100 * 100 * OUTPUT / 3),
        "fixed": int(requests * FIXED / 100 * 8 * SECOND / 3),
    }
    keys = {}
    for key in [*(f"key{number}" for number in range(KEYS)), "strict", "fixed", "left", "right", "canary"]:
        project = [] if key.startswith("key") else ["--project", key]
        if project:
            gateways[0].run("project", "add", key)
        keys[key] = gateways[0].run("key", "add", key, *project, "--budget", f"{budgets.get(key, 10**18) / 1e9:.9f}")
    for replica in gateways:
        await asyncio.to_thread(replica.start)

    callers, numbers, cut, asked = Callers(gateways, keys), iter(range(1, requests + 1)), set(), [0]

    async def caller():
        for number in numbers:
            asked[0] = number
            await callers.one(number)

    crash = os.environ.get("CACHALOT_TEST_POSTGRES_CRASH") if server else None

    async def killer():
        for kill in range(1, kills + 1):
            while asked[0] < requests * kill / (kills + 1):
                await asyncio.sleep(0.005)
            cut.update(callers.in_flight)
            replica = gateways[kill % replicas]
            callers.killed = time.monotonic()
            await asyncio.to_thread(replica.kill)
            if crash and kill % 3 == 0:  # and the database too
                await asyncio.to_thread(subprocess.run, crash, shell=True, check=True, stdout=subprocess.DEVNULL)
            await asyncio.to_thread(replica.start)
            callers.killed = time.monotonic()

    began = time.time()

    async def all_callers():
        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        callers.over = True

    # A gateway that does not start again ends the run.
    async with asyncio.TaskGroup() as tasks:
        for task in (all_callers(), killer(), callers.canary(store)):
            tasks.create_task(task)
    for replica in gateways:
        status, _ = await asyncio.to_thread(replica.stop)
        if status != 0:
            sys.exit(f"the gateway did not end in order: see {replica.log}")
    whole = callers.whole
    print(f"{requests / (time.time() - began):.0f} requests a second; {len(whole)} whole, {len(cut)} cut off by kills; the providers were asked {sum(p.asked for p in providers)} times and sent {sum(p.pages for p in providers)} pages of HTML")
    try:
        judge(Books(store, gateways[0]), callers, providers, requests, cut, budgets, overdraft, gateways, f"seed {seed}: see {folder}")
    finally:
        if server:
            subprocess.run(["psql", "-q", server, "-c", f"drop database {name}"], check=True)


class Books:
    """All that is read of the store."""

    def __init__(self, store, server):
        self.records, (self.spent, self.projects) = ledger.records(store), ledger.spent(store)
        self.differences, (self.clean, self.report) = ledger.differences(store), ledger.check(server)


def judge(books, callers, providers, requests, cut, budgets, overdraft, gateways, where):
    passed = 0

    def holds(what, true):
        nonlocal passed
        print("ok" if true else "NOT", what)
        if not true:
            print(f"{passed} passed, 1 failed")
            sys.exit(where)
        passed += 1

    whole = callers.whole
    tokens = [record for record in books.records if record.key.startswith("key")]
    counted = {}
    for record in tokens:
        if not record.estimated and record.prompt:
            counted.setdefault(record.prompt, []).append((record.completion, record.cost))
    absurd = set().union(*(provider.absurd for provider in providers))
    holds(f"no caller saw a page of HTML ({len(callers.pages)} did)", not callers.pages)
    lost = [number for number in whole if number not in counted and number not in absurd]
    holds(f"every answer that was seen whole is booked ({len(lost)} are not: {lost[:5]})", not lost)
    twice = [number for number, of in counted.items() if len(of) > 1]
    holds(f"nothing is booked twice ({twice[:5]})", not twice)
    wrong = [number for number, [(completion, cost)] in counted.items() if cost != number * INPUT + completion * OUTPUT or (number in whole and completion != whole[number])]
    holds(f"each at its exact price ({wrong[:5]})", not wrong)
    estimates = [record for record in tokens if record.estimated]
    reserved = (600 // 3) * INPUT + MAX_TOKENS * OUTPUT
    holds(f"what was cut off or counted absurdly costs no more than its reservation ({len(estimates)} are estimated)", all(0 <= record.cost <= reserved for record in estimates))
    of_absurd = [number for number in whole if number in absurd and number not in counted]
    holds(f"each of {len(of_absurd)} answers with absurd counts is settled by an estimate", len(of_absurd) <= len(estimates))
    crashed = sum(record.outcome == "crashed" for record in tokens)
    holds(f"what a kill cut off is settled ({crashed} crashed, {len(cut)} were in flight)", crashed <= len(cut))
    holds("no more records than requests", len(tokens) <= requests)
    holds(f"keys and projects have spent the sum of their records {books.differences[:3]}", not books.differences)
    spent, small = books.spent, budgets[f"key{KEYS - 1}"]
    dearest, over = requests * INPUT + 12 * OUTPUT, spent[f"key{KEYS - 1}"] - small
    holds(f"the small budget is used up, and overrun by what its running requests cost at most ({over / small:+.1%})", -dearest <= over <= AT_ONCE * dearest)
    holds(f"what has a fixed price never leads into debt (${spent['fixed'] / 1e9:.6f} of ${budgets['fixed'] / 1e9:.6f})", 0 < spent["fixed"] <= budgets["fixed"])
    most = AT_ONCE * (200 * INPUT + 5000 * OUTPUT) if overdraft is None else overdraft
    over = spent["strict"] - budgets["strict"]
    holds(f"the key whose worst cases are known is overdrawn by ${over / 1e9:.9f}, of ${most / 1e9:.9f} at most", over <= most)
    refunds = sum(record.outcome == "refunded" for record in books.records)
    holds(f"tasks under the same ids are followed by their owners alone ({len(callers.orphans)} lost, {len(callers.strangers)} seen by others, {refunds} given back)", not callers.orphans and not callers.strangers)
    holds(f"no tenant waits for another's record: {callers.canaries} requests of the canary's are answered ({callers.blocked[:2]}), and booked within {callers.longest_wait:.1f} s", callers.canaries and not callers.blocked and callers.longest_wait <= WAIT)
    holds(f"the journals are empty, and nothing is in quarantine {[ledger.left_in_journal(replica) for replica in gateways]}", not any(ledger.left_in_journal(replica) for replica in gateways))
    holds(f"`usage check` agrees {'' if books.clean else json.dumps(books.report)[:500]}", books.clean)
    print(f"{passed} passed, 0 failed")


asyncio.run(main())
