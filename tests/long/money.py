#!/usr/bin/env python3
"""Money under fire: requests with random hang-ups, failures and failovers, while the gateway, and PostgreSQL, are killed again and again.

    cargo build --release && python3 tests/long/money.py [REQUESTS] [KILLS] [REPLICAS]
    tests/services.sh python3 tests/long/money.py      # on PostgreSQL (CACHALOT_TEST_POSTGRES) and Redis (CACHALOT_TEST_REDIS), which several replicas need

Two fake providers of one model answer whole or streamed, refuse, break off, or count nothing. The prompt tokens of an answer are the number of
its request, so that each record can be found. Then, of the store: every answer that a client saw whole is booked exactly once at its exact price; no answer is
booked twice; what was cut off costs no more than was sent; what a kill cut off costs no more than its reservation; keys and project have spent the sum of
the records; a small budget is used up and not overrun by more than what its running requests cost; the journals are empty. Exits 1 at the first that does not
hold. 20000 requests, 10 kills and one replica when not given."""

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

BINARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../target/release/cachalot")
INPUT, OUTPUT = 1000, 2000  # nano-dollars a token: a dollar, and two, per million
MAX_TOKENS = 40
KEYS = 4
AT_ONCE = 48


class Provider:
    """Chat completions over HTTP/1.1. Remembers the most words it sent for each request."""

    def __init__(self):
        self.sent = {}
        self.asked = 0

    async def start(self):
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def talk(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head.lower()).group(1))
                if not await self.answer(json.loads(await reader.readexactly(length)), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, ask, writer):
        """Returns whether the connection goes on."""
        self.asked += 1
        number, words = ask["number"], random.randint(1, 12)
        usage = {"prompt_tokens": number, "completion_tokens": words, "total_tokens": number + words}
        luck = random.random()
        if luck < 0.06:
            status, body = random.choice([(500, "broken"), (429, "slow down"), (401, "bad key"), (400, "odd")])
            body = json.dumps({"error": {"message": body}}).encode()
            writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
            return True
        if luck < 0.08:
            return False
        if not ask.get("stream"):
            message = {"role": "assistant", "content": "word " * words}
            body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).encode()
            self.sent[number] = max(words, self.sent.get(number, 0))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        breaks = random.random() < 0.05
        for word in range(words):
            self.sent[number] = max(word + 1, self.sent.get(number, 0))
            self.event(writer, {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]})
            await writer.drain()
            if random.random() < 0.2:
                await asyncio.sleep(random.random() * 0.01)
            if breaks and random.random() < 0.3:
                return False
        self.event(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event(writer, {"choices": [], "usage": usage})
        self.event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    def event(writer, data):
        event = f"data: {data if isinstance(data, str) else json.dumps(data, separators=(',', ':'))}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))


class Gateway:
    """One replica. What it has of its own is its folder."""

    def __init__(self, folder, ports, store, redis):
        os.makedirs(folder)
        self.folder, self.config = folder, os.path.join(folder, "cachalot.toml")
        prices = os.path.join(folder, "prices.toml")
        with open(prices, "w") as file:
            for name in ("one", "two"):
                file.write(f"[[price]]\nprovider='{name}'\nmodel='m'\nsource='s'\ndate='d'\ninput={INPUT / 1000}\noutput={OUTPUT / 1000}\n")
        with open(self.config, "w") as file:
            file.write(f"[store]\nurl='{store}'\njournal='{folder}/journal'\n{redis}[gateway]\nprices='{prices}'\n")
            for name, port in zip(("one", "two"), ports):
                file.write(f"[[providers]]\nname='{name}'\nbase_url='http://127.0.0.1:{port}/v1'\ndialect='deepseek'\nprivate=true\nmodels=['m']\n")

    def run(self, *arguments):
        return subprocess.run([BINARY, *arguments, "--config", self.config], capture_output=True, text=True, check=True).stdout.strip()

    def start(self):
        command = [BINARY, "serve", "--model", "none", "--listen", "127.0.0.1:0", "--config", self.config]
        log = open(os.path.join(self.folder, "log"), "a+")
        position = log.tell()
        self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "CACHALOT_LOG": "warn,cachalot=info"})
        while True:
            log.seek(position)
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log.read()))
            if found:
                self.port = int(found.group(1))
                return
            if self.process.poll() is not None:
                sys.exit(f"the gateway did not start: see {self.folder}/log")
            time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 0:
            sys.exit("the gateway did not end in order")


async def ask(gateways, key, number):
    """How many words a client saw of a whole answer; None of one that was not whole."""
    stream, leaves = random.random() < 0.6, random.random() < 0.1
    body = {"model": "m", "number": number, "stream": stream, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": "x" * random.randint(1, 300)}]}
    body = json.dumps(body).encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", random.choice(gateways).port)
            break
        except OSError:  # it was killed a moment ago
            await asyncio.sleep(0.01)
    try:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        if leaves:
            await asyncio.wait_for(reader.read(random.randint(1, 900)), 30)
            return None
        answer = await asyncio.wait_for(reader.read(), 60)
    except (OSError, asyncio.TimeoutError):
        return None
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        return None
    if stream:
        return answer.count(b"word ") if b"[DONE]" in answer and b'"error"' not in answer else None
    return answer.count(b"word ") if answer.rstrip().endswith(b"}") or b'"usage"' in answer else None


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
        store = f"sqlite:{folder}/cachalot.db"
    redis = os.environ.get("CACHALOT_TEST_REDIS")
    if replicas > 1 and not (server and redis):
        sys.exit("several replicas need PostgreSQL and Redis: tests/services.sh python3 tests/long/money.py ...")
    print(f"seed {seed}, {requests} requests, {kills} kills, {replicas} replicas, {store.split(':')[0]}{', redis' if redis else ''}, in {folder}", flush=True)
    providers = [Provider(), Provider()]
    ports = [await provider.start() for provider in providers]
    gateways = [Gateway(f"{folder}/{replica}", ports, store, f"redis='{redis}'\n" if redis else "") for replica in range(replicas)]
    # The last key has a third of what its requests would cost.
    small = requests // KEYS * (requests // 2) * INPUT // 3
    budgets = ["1000000000"] * (KEYS - 1) + [f"{small / 1e9:.9f}"]
    keys = [gateways[0].run("key", "add", f"key{number}", "--budget", budget) for number, budget in enumerate(budgets)]
    for gateway in gateways:
        await asyncio.to_thread(gateway.start)

    whole, in_flight, cut, numbers, next_number = {}, set(), set(), iter(range(1, requests + 1)), [0]

    async def caller():
        for number in numbers:
            next_number[0] = number
            in_flight.add(number)
            words = await ask(gateways, keys[number % KEYS], number)
            in_flight.discard(number)
            if words is not None:
                whole[number] = words

    crash = os.environ.get("CACHALOT_TEST_POSTGRES_CRASH") if server else None

    async def killer():
        for kill in range(1, kills + 1):
            while next_number[0] < requests * kill / (kills + 1):
                await asyncio.sleep(0.005)
            cut.update(in_flight)
            gateway = gateways[kill % replicas]
            await asyncio.to_thread(gateway.kill)
            if crash and kill % 3 == 0:  # and the database too
                subprocess.run(crash, shell=True, check=True, stdout=subprocess.DEVNULL)
            await asyncio.to_thread(gateway.start)

    began = time.time()
    assassin = asyncio.create_task(killer())
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    await asyncio.wait_for(assassin, 60)
    for gateway in gateways:
        await asyncio.to_thread(gateway.stop)
    print(f"{requests / (time.time() - began):.0f} requests a second; {len(whole)} whole, {len(cut)} cut off by kills; the providers were asked {sum(p.asked for p in providers)} times")

    columns = "outcome, prompt_tokens, completion_tokens, cost, estimated, key_name"
    if server:
        text = subprocess.run(["psql", "-q", "-A", "-t", "-F", "\t", store, "-c", f"select {columns} from usage_records"], capture_output=True, text=True, check=True).stdout
        records = [(o, int(p), int(c), int(n), int(e), k) for o, p, c, n, e, k in (line.split("\t") for line in text.splitlines())]
        spent = [int(n) for n in subprocess.run(["psql", "-q", "-A", "-t", store, "-c", "select spent from (select name, spent from keys union all select '~', spent from projects) s order by name"], capture_output=True, text=True, check=True).stdout.split()]
        subprocess.run(["psql", "-q", server, "-c", f"drop database {name}"], check=True)
    else:
        database = sqlite3.connect(f"{folder}/cachalot.db")
        records = database.execute(f"select {columns} from usage_records").fetchall()
        spent = [row[0] for row in database.execute("select spent from (select name, spent from keys union all select '~', spent from projects) order by name")]

    def holds(what, true):
        print("ok" if true else "NOT", what)
        if not true:
            sys.exit(f"seed {seed}: see {folder}")

    counted = {}
    for outcome, prompt, completion, cost, estimated, key in records:
        if not estimated and prompt:
            counted.setdefault(prompt, []).append((completion, cost))
    sent = {number: max(p.sent.get(number, 0) for p in providers) for p in providers for number in p.sent}
    lost = [number for number in whole if number not in counted]
    holds(f"every answer that was seen whole is booked ({len(lost)} are not: {lost[:5]})", not lost)
    twice = [number for number, of in counted.items() if len(of) > 1]
    holds(f"nothing is booked twice ({twice[:5]})", not twice)
    wrong = [number for number, [(completion, cost)] in counted.items() if cost != number * INPUT // 1 + completion * OUTPUT or (number in whole and completion != whole[number])]
    holds(f"each at its exact price ({wrong[:5]})", not wrong)
    estimates = [record for record in records if record[4]]
    reserved = (600 // 3) * INPUT + MAX_TOKENS * OUTPUT
    holds(f"what was cut off costs no more than its reservation ({len(estimates)} are estimated)", all(0 <= cost <= reserved for _, _, _, cost, _, _ in estimates))
    crashed = sum(record[0] == "crashed" for record in records)
    holds(f"what a kill cut off is settled ({crashed} crashed, {len(cut)} were in flight)", crashed <= len(cut))
    holds("no more records than requests", len(records) <= requests)
    total = sum(record[3] for record in records)
    holds("the keys have spent the sum of their records, and so has the project", sum(spent[:KEYS]) == total == spent[KEYS])
    dearest, over = requests * INPUT + 12 * OUTPUT, spent[KEYS - 1] - small
    holds(f"the small budget is used up, and overrun by what its running requests cost at most ({over / small:+.1%})", -dearest <= over <= AT_ONCE * dearest)
    holds("the journals are empty", all(os.listdir(f"{gateway.folder}/journal") == [] for gateway in gateways))
    print("9 passed, 0 failed")


asyncio.run(main())
