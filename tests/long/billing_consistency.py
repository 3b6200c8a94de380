#!/usr/bin/env python3
"""Consistency of billing: requests with random disconnects, failures and failovers, while the gateway and PostgreSQL are killed repeatedly.

    cargo build --release && python3 tests/long/billing_consistency.py [REQUESTS] [KILLS] [REPLICAS]
    tests/services.sh python3 tests/long/billing_consistency.py      # on PostgreSQL (CACHALOT_TEST_POSTGRES) and Redis (CACHALOT_TEST_REDIS), which several replicas need

Two fake providers of three models, each of another dialect, send complete or streaming responses, refuse, break off at any event or in
the middle of one, report absent or absurd usage, send HTML, and repeat the ids of their tasks. Clients ask in the dialect of the model and
in others, and disconnect at any byte. The prompt tokens of an answer are the number of its request, which identifies its usage record; the
other counts (cached tokens, those written to the cache for five minutes or an hour, reasoning, audio, pictures, searches) and the
service tier are random. Beside the keys of the model, which have budgets that renew, there are a key for fixed prices only, a key with known worst cases (with a random `overdraft` setting), two tenants with
tasks under the same ids, and a canary key that must never wait for another's record.

Then the store is checked: every answer that a client received completely has exactly one record, at its exact price; truncated answers
and absurd counts cost at most their reservation; keys and projects have spent the sum of their records, and `cachalot usage check` agrees;
budgets are used up, and overrun only as far as allowed; the journals are empty. Exits with 1 at the first failure. The defaults are 20000
requests, 10 kills and one replica."""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import client
import fake_provider
import store_audit
from attacks.hostile_provider import ABSURD, absurd_usage
from server import Server

# Nano-dollars per token: $1 and $2 per million for input and output.
INPUT, CACHED, WRITTEN, WRITTEN_1H, OUTPUT, REASONING = 1000, 100, 1250, 2000, 2000, 3000
# The same for tokens of audio in a prompt and of pictures in an answer; for a search; and the factor of the tier `priority`.
AUDIO, DRAWN, SEARCH, PRIORITY = 5000, 7000, 100_000, 2
MAX_SEARCHES = 3
SECOND, PICTURE = 1_000_000, 3_000_000
MAX_TOKENS = 40
# The models, their dialects, and the paths of requests to them: in their own dialect, then in others.
MODELS = {
    "m": ("deepseek", ["/v1/chat/completions", "/v1/messages"]),
    "claude": ("anthropic", ["/v1/messages", "/v1/chat/completions"]),
    "gem": ("gemini", ["/v1beta/models/gem:", "/v1/chat/completions"]),
}
KEYS = 4
CONCURRENCY = 48
# Of each hundred requests, the numbers for other keys than the first ones.
STRICT_SHARE, FIXED_PRICE_SHARE, TASK_SHARE = 4, 4, 4
# Maximum seconds until a record of the canary is in the store, without kills.
MAX_PENDING_S = 10


class Provider(fake_provider.HttpServer):
    """Chat completions, images and videos. Remembers the counts that it reported for each request."""

    def __init__(self):
        super().__init__()
        self.counts, self.absurd, self.request_count, self.html_pages = {}, set(), 0, 0

    async def handle(self, request, writer):
        self.request_count += 1
        if "/videos" in request.path or "/images" in request.path:
            return self.image_or_video(request, writer)
        body = request.json()
        dialect, number, words = request.dialect, request.number(), random.randint(1, 12)
        if body.get("model") == "honest":
            # Uses all of `max_tokens`; the prompt has fewer tokens than a third of its bytes.
            usage = {"prompt_tokens": 5, "completion_tokens": body.get("max_tokens", 5000)}
            return self.send(writer, 200, fake_provider.complete_response(dialect, "word " * 3, usage))
        luck = random.random()
        if luck < 0.06:
            status, message = random.choice([(500, "broken"), (429, "slow down"), (401, "bad key"), (400, "odd")])
            return self.send(writer, status, {"error": {"message": message}})
        if luck < 0.08:
            return False
        if luck < 0.10:
            self.html_pages += 1
            return self.send(writer, 200, b"<html><body>Please log in</body></html>", random.choice(["text/html", "application/json", "text/event-stream"]))
        if luck < 0.13:
            self.absurd.add(number)
            value = random.choice([value for name, value in ABSURD.items() if name not in ("null", "true", "twice", "5000")])
            usage = absurd_usage(dialect, random.choice(["prompt", "completion"]), value).encode()
        else:
            usage = json.dumps(self.draw_usage(dialect, number, words)).encode()
        if not request.streams():
            whole = json.dumps(fake_provider.complete_response(dialect, "word " * words, "@")).encode()
            return self.send(writer, 200, whole.replace(b'"@"', usage))
        self.start_chunked(writer)
        events = [event.replace(b'"@"', usage) for event in fake_provider.sse_events(dialect, ["word "] * words, "@")]
        breaks = random.randrange(len(events)) if random.random() < 0.1 else None
        for index, event in enumerate(events):
            if index == breaks:
                # Between two events, or in the middle of one.
                self.chunk(writer, event[: random.choice([1, len(event) // 2, len(event)])])
                await writer.drain()
                return False
            self.chunk(writer, event)
            await writer.drain()
            if random.random() < 0.2:
                await asyncio.sleep(random.random() * 0.01)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def draw_usage(self, dialect, number, words):
        """A usage object with random parts of the prompt and of the words."""
        cached = random.choice([0, random.randint(0, number)])
        left = number - cached
        written = (random.randint(0, left // 2), random.randint(0, left // 2)) if dialect == "anthropic" else (0, 0)
        reasoning = 0 if dialect == "anthropic" else random.choice([0, random.randint(0, words)])
        audio = 0 if dialect == "anthropic" else random.choice([0, random.randint(0, number)])
        pictures = 0 if dialect == "anthropic" else random.choice([0, random.randint(0, words - reasoning)])
        searches = 0 if dialect == "gemini" else random.choice([0, random.randint(0, MAX_SEARCHES)])
        tier = random.choice(["", "priority"]) if dialect == "anthropic" else ""
        counts = (cached, *written, words, reasoning, audio, pictures, searches, tier)
        self.counts.setdefault(number, set()).add(counts)
        return fake_provider.usage(dialect, number, words, cached, written, reasoning, audio, pictures, searches, tier)

    def image_or_video(self, request, writer):
        """Images, and videos under repeated ids. One video in four fails."""
        if "/images" in request.path:
            return self.send(writer, 200, {"created": 1, "data": [{"url": "x"}] * request.json()["n"]})
        if request.method == b"POST":
            return self.send(writer, 200, {"id": f"video_{random.randrange(8)}", "object": "video", "status": "queued"})
        name = request.path.rsplit("/", 1)[1]
        return self.send(writer, 200, {"id": name, "object": "video", "status": "failed" if name in ("video_0", "video_4") else "completed"})


def gateway(folder, ports, store, redis, overdraft):
    """One replica with its own folder."""
    os.makedirs(folder, exist_ok=True)
    prices, text = f"{folder}/prices.toml", f"[store]\nurl='{store}'\njournal='{folder}/journal'\n{redis}[gateway]\nprices='{folder}/prices.toml'\n{overdraft}"
    with open(prices, "w") as file:
        for name in ("one", "two"):
            tokens = {"input": INPUT, "cached": CACHED, "cache_write": WRITTEN, "cache_write_1h": WRITTEN_1H, "output": OUTPUT}
            tokens |= {"reasoning": REASONING, "audio_input": AUDIO, "image_output": DRAWN, "per_search": SEARCH / 1e6}
            priority = ",".join(f"{field}={PRIORITY * price / 1000:.9f}" for field, price in tokens.items())
            tokens = "\n".join(f"{field}={price / 1000:.9f}" for field, price in tokens.items())
            tokens += f"\nservice=[{{tier='priority',{priority}}}]"
            for dialect, _ in MODELS.values():
                file.write(f"[[price]]\nprovider='{name}-{dialect}'\nmodel='*'\nsource='s'\ndate='d'\n{tokens}\n")
            for model, amounts in (("film", f"per_second={SECOND / 1e9}"), ("paint", f"per_call={PICTURE / 1e9}")):
                file.write(f"[[price]]\nprovider='{name}-deepseek'\nmodel='{model}'\nsource='s'\ndate='d'\n{amounts}\n")
    for name, port in zip(("one", "two"), ports):
        for model, (dialect, _) in MODELS.items():
            models = ["m", "honest", "film", "paint"] if model == "m" else [model]
            root = f"http://127.0.0.1:{port}/{dialect}/v1"
            text += f"[[providers]]\nname='{name}-{dialect}'\nbase_url='{root}'\ndialect='{dialect}'\nprivate=true\nmodels={models}\n"
    return Server(folder, text)


class Clients:
    """All clients, and what they received."""

    def __init__(self, gateways, keys):
        self.gateways, self.keys = gateways, keys
        self.complete, self.in_flight, self.html_pages, self.strangers, self.orphans, self.blocked = {}, set(), [], [], [], []
        self.killed, self.longest_wait, self.canaries, self.finished = time.monotonic(), 0.0, 0, False

    async def send(self, key, method, path, body=b"", **more):
        payload = client.request(method, path, self.keys[key], body)
        while True:
            reply = await client.send(random.choice(self.gateways).port, payload, **more)
            if reply.ended != "refused":
                return reply
            await asyncio.sleep(0.01)  # It was just killed.

    async def send_one(self, number):
        self.in_flight.add(number)
        kind = number % 100
        if kind < STRICT_SHARE:
            most = {"max_tokens": random.randint(1, 200)} if number % 2 else {}
            await self.send("strict", "POST", "/v1/chat/completions", {"model": "honest", **most, "messages": [{"role": "user", "content": "x" * 60}]})
        elif kind < STRICT_SHARE + FIXED_PRICE_SHARE:
            path, body = random.choice([("/v1/videos", {"model": "film", "prompt": "x", "seconds": random.choice(["4", "12"])}), ("/v1/images/generations", {"model": "paint", "prompt": "x", "n": random.randint(1, 4)})])
            await self.send("fixed", "POST", path, body)
        elif kind < STRICT_SHARE + FIXED_PRICE_SHARE + TASK_SHARE:
            await self.task(*random.sample(["left", "right"], 2))
        else:
            words = await self.send_chat(number)
            if words is not None:
                self.complete[number] = words
        self.in_flight.discard(number)

    async def send_chat(self, number):
        """The number of words of a complete answer; None for an incomplete one."""
        stream, leaves = random.random() < 0.6, random.random() < 0.1
        model, (_, paths) = random.choice(list(MODELS.items()))
        path, text = random.choice(paths), f"#{number}. " + "x" * random.randint(1, 300)
        if path.endswith(":"):
            path += "streamGenerateContent?alt=sse" if stream else "generateContent"
            body = {"contents": [{"parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": MAX_TOKENS}}
        else:
            body = {"model": model, "stream": stream, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": text}]}
        leave = random.randint(1, 4000) if leaves else None
        reply = await self.send(f"key{number % KEYS}", "POST", path, body, leave_after=leave)
        received = reply.bytes
        if b"<html" in received:
            self.html_pages.append(number)
            return None
        if leaves or reply.status != 200 or reply.ended != "complete" or b'"error"' in received:
            return None
        ends = [b"[DONE]", b"message_stop", b'"finishReason":"STOP"']
        return received.count(b"word ") if not stream or any(end in received for end in ends) else None

    async def task(self, owner, stranger):
        """Checks that only the owner can read a task, even if the provider repeats its id."""
        reply = await self.send(owner, "POST", "/v1/videos", {"model": "film", "prompt": "x", "seconds": "4"})
        task = reply.json() if reply.status == 200 and reply.ended == "complete" else None
        if not task:
            return
        path, until = f"/v1/videos/{task['id']}", time.monotonic() + 30
        # If a replica is killed before its record is in the store, the others know the task when it is back.
        while (reply := await self.send(owner, "GET", path)).status == 404 and time.monotonic() < until:
            await asyncio.sleep(0.2)
        if reply.status == 404:
            self.orphans.append(task["id"])
        if (await self.send(stranger, "GET", path)).status == 200:
            self.strangers.append(task["id"])

    async def canary(self, store):
        """Sends ten requests a second, and checks that their records reach the store."""
        waiting, cost, looked = [], 5 * INPUT + 2 * OUTPUT, time.monotonic()
        while not self.finished:
            body = {"model": "honest", "max_tokens": 2, "messages": [{"role": "user", "content": "x" * 60}]}
            reply = await self.send("canary", "POST", "/v1/chat/completions", body, timeout=30)
            now, quiet = time.monotonic(), time.monotonic() - self.killed > MAX_PENDING_S + 5
            if reply.status == 200 and reply.ended == "complete":
                self.canaries += 1
                waiting.append(now)
            elif reply.status not in (0, 200) or quiet:
                self.blocked.append(str(reply))
            if now - looked > 2:
                looked = now
                try:
                    rows = await asyncio.to_thread(store_audit.query, store, "select spent from keys where name = 'canary'")
                except Exception:  # The database is being killed.
                    continue
                # A request that a kill ended is settled by its prompt alone, so the number is approximate.
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
        sys.exit("several replicas need PostgreSQL and Redis: tests/services.sh python3 tests/long/billing_consistency.py ...")
    # The allowed overdraft of a budget in nano-dollars; None: the last request may exceed it.
    overdraft = random.choice([None, 0, 1_000_000])
    amount = "'last-request'" if overdraft is None else f"{overdraft / 1e9:.9f}"
    setting = f"overdraft={amount}\n"
    print(f"seed {seed}, {requests} requests, {kills} kills, {replicas} replicas, {store.split(':')[0]}{', redis' if redis else ''}, {setting.strip()}, in {folder}", flush=True)
    providers = [Provider(), Provider()]
    ports = [await provider.start() for provider in providers]
    gateways = [gateway(f"{folder}/{replica}", ports, store, f"redis='{redis}'\n" if redis else "", setting) for replica in range(replicas)]
    # Three keys have a third of the cost of their requests.
    others = (100 - STRICT_SHARE - FIXED_PRICE_SHARE - TASK_SHARE) / 100
    budgets = {
        f"key{KEYS - 1}": int(requests * others / KEYS * (requests // 2) * INPUT / 3),
        "strict": int(requests * STRICT_SHARE / 100 * 100 * OUTPUT / 3),
        "fixed": int(requests * FIXED_PRICE_SHARE / 100 * 8 * SECOND / 3),
    }
    keys = {}
    for key in [*(f"key{number}" for number in range(KEYS)), "strict", "fixed", "left", "right", "canary"]:
        project = [] if key.startswith("key") else ["--project", key]
        if project:
            gateways[0].run("project", "add", key)
        keys[key] = gateways[0].run("key", "add", key, *project, "--budget", f"{budgets.get(key, 10**18) / 1e9:.9f}")
        for every in ("day", "month"):
            gateways[0].run("key", "set", key, "--budget", "1000000000", "--every", every)
    for replica in gateways:
        await asyncio.to_thread(replica.start)

    clients, numbers, cut, current = Clients(gateways, keys), iter(range(1, requests + 1)), set(), [0]

    async def caller():
        for number in numbers:
            current[0] = number
            await clients.send_one(number)

    crash = os.environ.get("CACHALOT_TEST_POSTGRES_CRASH") if server else None

    async def killer():
        for kill in range(1, kills + 1):
            while current[0] < requests * kill / (kills + 1):
                await asyncio.sleep(0.005)
            cut.update(clients.in_flight)
            replica = gateways[kill % replicas]
            clients.killed = time.monotonic()
            await asyncio.to_thread(replica.kill)
            if crash and kill % 3 == 0:  # and the database too
                await asyncio.to_thread(subprocess.run, crash, shell=True, check=True, stdout=subprocess.DEVNULL)
            await asyncio.to_thread(replica.start)
            clients.killed = time.monotonic()

    began = time.time()

    async def run_clients():
        await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
        clients.finished = True

    # The run ends if a gateway does not start again.
    async with asyncio.TaskGroup() as tasks:
        for task in (run_clients(), killer(), clients.canary(store)):
            tasks.create_task(task)
    for replica in gateways:
        status, _ = await asyncio.to_thread(replica.stop)
        if status != 0:
            sys.exit(f"the gateway did not end in order: see {replica.log}")
    complete = clients.complete
    print(f"{requests / (time.time() - began):.0f} requests a second; {len(complete)} complete, {len(cut)} cut off by kills; the providers received {sum(p.request_count for p in providers)} requests and sent {sum(p.html_pages for p in providers)} pages of HTML")
    try:
        verify(StoreSnapshot(store, gateways[0]), clients, providers, requests, cut, budgets, overdraft, gateways, f"seed {seed}: see {folder}")
    finally:
        if server:
            subprocess.run(["psql", "-q", server, "-c", f"drop database {name}"], check=True)


def price(record):
    """The price of the counts of a record, rounded once."""
    heard, drawn, searches = (record.extra.get(name, 0) for name in ("audio_prompt_tokens", "image_completion_tokens", "searches"))
    rest = record.prompt - record.cached - record.written
    audio, written = min(heard, rest), (record.written - record.written_1h) * WRITTEN + record.written_1h * WRITTEN_1H
    prompt = (rest - audio) * INPUT + audio * AUDIO + record.cached * CACHED + written
    answer = (record.completion - record.reasoning - drawn) * OUTPUT + drawn * DRAWN + record.reasoning * REASONING
    return (prompt + answer + searches * SEARCH) * (PRIORITY if record.tier == "priority" else 1)


def counts_of(record):
    """The counts of a record beside its prompt, as `Provider.draw_usage` remembers them."""
    extra = (record.extra.get(name, 0) for name in ("audio_prompt_tokens", "image_completion_tokens", "searches"))
    return (record.cached, record.written - record.written_1h, record.written_1h, record.completion, record.reasoning, *extra, record.tier)


class StoreSnapshot:
    """Everything that is read from the store."""

    def __init__(self, store, server):
        self.records, (self.spent, self.projects) = store_audit.records(store), store_audit.spent(store)
        self.unbalanced, (self.clean, self.report) = store_audit.unbalanced(store), store_audit.check(server)


def verify(snapshot, clients, providers, requests, cut, budgets, overdraft, gateways, where):
    passed = 0

    def check(what, true):
        nonlocal passed
        print("ok" if true else "NOT", what)
        if not true:
            print(f"{passed} passed, 1 failed")
            sys.exit(where)
        passed += 1

    complete = clients.complete
    tokens = [record for record in snapshot.records if record.key.startswith("key")]
    counted = {}
    for record in tokens:
        if not record.estimated and record.prompt:
            counted.setdefault(record.prompt, []).append(record)
    absurd = set().union(*(provider.absurd for provider in providers))
    check(f"no client received a page of HTML ({len(clients.html_pages)} did)", not clients.html_pages)
    lost = [number for number in complete if number not in counted and number not in absurd]
    check(f"every complete answer has a record ({len(lost)} do not: {lost[:5]})", not lost)
    twice = [number for number, of in counted.items() if len(of) > 1]
    check(f"no answer has two records ({twice[:5]})", not twice)
    reported = {}
    for provider in providers:
        for number, counts in provider.counts.items():
            reported.setdefault(number, set()).update(counts)
    wrong = [number for number, [record] in counted.items() if record.cost != price(record) or (number in complete and record.completion != complete[number])]
    check(f"each at its exact price ({wrong[:5]})", not wrong)
    other = [number for number, [record] in counted.items() if counts_of(record) not in reported.get(number, ())]
    check(f"each with the counts that a provider reported ({other[:5]})", not other)
    drawn = [counts_of(record) for [record] in counted.values()]
    parts = [sum(bool(counts[part]) for counts in drawn) for part in range(len(drawn[0]))]
    check(f"every part of a usage was drawn {parts}", all(parts))
    estimates = [record for record in tokens if record.estimated]
    # A provider may have counted the prompt before it broke off.
    reserved = (max(600 // 3, requests) * AUDIO + MAX_TOKENS * DRAWN + MAX_SEARCHES * SEARCH) * PRIORITY
    check(f"truncated answers and absurd counts cost at most their reservation ({len(estimates)} are estimated)", all(0 <= record.cost <= reserved for record in estimates))
    of_absurd = [number for number in complete if number in absurd and number not in counted]
    check(f"each of {len(of_absurd)} answers with absurd counts is settled by an estimate", len(of_absurd) <= len(estimates))
    crashed = sum(record.outcome == "crashed" for record in tokens)
    check(f"requests ended by a kill are settled ({crashed} crashed, {len(cut)} were in flight)", crashed <= len(cut))
    check("no more records than requests", len(tokens) <= requests)
    check(f"keys and projects have spent the sum of their records {snapshot.unbalanced[:3]}", not snapshot.unbalanced)
    spent, small = snapshot.spent, budgets[f"key{KEYS - 1}"]
    max_cost, over = (requests * AUDIO + 12 * DRAWN + MAX_SEARCHES * SEARCH) * PRIORITY, spent[f"key{KEYS - 1}"] - small
    check(f"the small budget is used up, and overrun by what its running requests cost at most ({over / small:+.1%})", -max_cost <= over <= CONCURRENCY * max_cost)
    check(f"fixed prices never overdraw a budget (${spent['fixed'] / 1e9:.6f} of ${budgets['fixed'] / 1e9:.6f})", 0 < spent["fixed"] <= budgets["fixed"])
    most = CONCURRENCY * (200 * INPUT + 5000 * OUTPUT) if overdraft is None else overdraft
    over = spent["strict"] - budgets["strict"]
    check(f"the key with known worst cases is overdrawn by ${over / 1e9:.9f}, of ${most / 1e9:.9f} at most", over <= most)
    refunds = sum(record.outcome == "refunded" for record in snapshot.records)
    check(f"tasks under the same ids are visible to their owners only ({len(clients.orphans)} lost, {len(clients.strangers)} seen by others, {refunds} given back)", not clients.orphans and not clients.strangers)
    check(f"no tenant waits for another's record: {clients.canaries} requests of the canary are answered ({clients.blocked[:2]}), and recorded within {clients.longest_wait:.1f} s", clients.canaries and not clients.blocked and clients.longest_wait <= MAX_PENDING_S)
    check(f"the journals are empty, and nothing is in quarantine {[store_audit.unflushed_records(replica) for replica in gateways]}", not any(store_audit.unflushed_records(replica) for replica in gateways))
    check(f"`usage check` agrees {'' if snapshot.clean else json.dumps(snapshot.report)[:500]}", snapshot.clean)
    print(f"{passed} passed, 0 failed")


asyncio.run(main())
