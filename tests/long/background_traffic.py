"""Background traffic of a long test: requests of every API at a steady rate, with known answers."""

import asyncio
import collections
import json
import random
import time

import client
import fake_provider

# Prices in nano-dollars: per token, and fixed prices.
INPUT, OUTPUT = 1000, 2000
PICTURE, TASK, SECOND = 40_000_000, 80_000_000, 100_000_000
LOCAL_TOKENS = 12

TEXT = "Here are some words to read. " * 6


def chat(model):
    return lambda text, stream: ("/v1/chat/completions", {"model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": text}]})


def messages(model):
    return lambda text, stream: ("/v1/messages", {"model": model, "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": text}]})


def contents(model):
    def build(text, stream):
        call = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{call}", {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 64}}
    return build


def responses(model):
    return lambda text, stream: ("/v1/responses", {"model": model, "max_output_tokens": 64, "stream": stream, "input": text})


def long_chat(model, turns=60_000):
    """A conversation of many short messages, which takes more than ten times its size in memory.

    The default takes nine tenths of what a key may have in flight (a quarter of 256 MiB)."""
    def build(text, stream):
        messages = [{"role": "user", "content": text}] + [{"role": ("assistant", "user")[turn % 2], "content": "yes"} for turn in range(turns)]
        return "/v1/chat/completions", {"model": model, "max_tokens": 64, "stream": stream, "messages": messages}
    return build


# Name, function that builds the request, whether it may stream, weight. Forwarded and converted requests of every API.
KINDS = [
    ("forwarded: chat completions", chat("good-deepseek/chat"), True, 5),
    ("forwarded: chat completions of another dialect", chat("good-openai/chat"), True, 2),
    ("forwarded: messages", messages("good-anthropic/chat"), True, 3),
    ("forwarded: contents", contents("good-gemini/chat"), True, 3),
    ("converted: chat completions to messages", chat("good-anthropic/chat"), True, 3),
    ("converted: chat completions to contents", chat("good-gemini/chat"), True, 2),
    ("converted: messages to chat completions", messages("good-deepseek/chat"), True, 3),
    ("converted: contents to chat completions", contents("good-openai/chat"), True, 2),
    ("converted: responses to chat completions", responses("good-deepseek/chat"), True, 2),
    ("embeddings", lambda text, _: ("/v1/embeddings", {"model": "good-deepseek/embed", "input": text}), False, 1),
    ("picture", lambda text, _: ("/v1/images/generations", {"model": "good-deepseek/paint", "prompt": text, "n": 2}), False, 1),
    ("task of Midjourney", lambda text, _: ("/mj/submit/imagine", {"prompt": text}), False, 1),
    ("video", lambda text, _: ("/v1/videos", {"model": "good-deepseek/film", "prompt": text, "seconds": "4"}), False, 1),
    ("local: chat completions", None, True, 3),
]
LONG_CHAT = "converted: a long conversation"
WEIGHTS = [kind[3] for kind in KINDS]


class Result:
    """A request and its result. `record` is its expected usage record: key, provider, tokens, cost."""

    __slots__ = ("kind", "key", "number", "first", "total", "fault", "record")

    def __init__(self, kind, key, number):
        self.kind, self.key, self.number, self.first, self.total, self.fault, self.record = kind, key, number, None, None, None, None


class Traffic:
    """Sends `rate` requests a second with `keys` (name to key), numbered from `number`, until it is stopped."""

    def __init__(self, port, keys, rate, number, seed, local):
        self.port, self.keys, self.rate, self.number, self.local = port, keys, rate, number, local
        self.random, self.results, self.tasks = random.Random(seed), [], collections.deque(maxlen=64)

    async def run(self, stop):
        running, due = set(), time.monotonic()
        while not stop.is_set():
            running.add(task := asyncio.create_task(self.send_random()))
            task.add_done_callback(running.discard)
            # The next request is due independent of the response to this one.
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.gather(*running)
        return self.results

    async def run_long_chats(self, rounds):
        """Sends a long conversation of each key, to be converted, `rounds` times.

        The last piece of each waits until all the others are sent, so that the server parses them at the same time.
        """
        for _ in range(rounds):
            sends, last_pieces = [], asyncio.Barrier(len(self.keys))
            for key in self.keys:
                self.number += 1
                sends.append(self.send_one(Result(LONG_CHAT, key, self.number), long_chat("good-anthropic/chat"), False, last_pieces))
            await asyncio.gather(*sends)
        return self.results

    async def run_burst(self, count):
        """Sends `count` ordinary requests at the same time."""
        await asyncio.gather(*(self.send_random() for _ in range(count)))
        return self.results

    async def send_random(self):
        kind, build, may_stream, _ = self.random.choices(KINDS, WEIGHTS)[0]
        self.number += 1
        result = Result(kind, self.random.choice(list(self.keys)), self.number)
        await self.send_one(result, build, may_stream and self.random.random() < 0.6)

    async def send_one(self, result, build, stream, last_pieces=None):
        try:
            if build is None:
                if self.local:
                    await self.request_local_model(result, stream)
                    self.results.append(result)
                return
            await self.send_request(result, build, stream, last_pieces)
        except Exception as fault:  # Every error in the response is reported.
            result.fault = f"{type(fault).__name__}: {fault}"
        self.results.append(result)

    async def send(self, result, method, path, body=b"", last_pieces=None):
        payload = client.request(method, path, self.keys[result.key], body)
        pace = client.hold_last_piece(len(payload), last_pieces) if last_pieces else None
        reply = await client.send(self.port, payload, pace=pace)
        if result.total is None:
            result.first, result.total = reply.first, reply.total
        if reply.status != 200 or reply.ended != "complete":
            result.fault = f"{method} {path}: {reply}"
            return None
        return reply

    async def send_request(self, result, build, stream, last_pieces=None):
        number, count = result.number, fake_provider.words(result.number)
        path, body = build(f"#{number}. {TEXT}", stream)
        reply = await self.send(result, "POST", path, body, last_pieces)
        if reply is None:
            return
        received = reply.body
        if result.kind == "picture":
            result.record = (result.key, "good-deepseek", 0, 0, 2 * PICTURE)
        elif result.kind in ("task of Midjourney", "video"):
            await self.follow(result, reply.json())
        elif result.kind == "embeddings":
            result.record = (result.key, "good-deepseek", number, 0, number * INPUT)
        else:
            # Responses repeat the complete text in their final events.
            seen = received.count(b'"delta":"word "') if stream and path == "/v1/responses" else received.count(b"word ")
            if seen != count or b'"error":{' in received:
                result.fault = f"{path}: {seen} words instead of {count}: {reply}"
                return
            provider = body.get("model", path.removeprefix("/v1beta/models/")).split("/")[0]
            result.record = (result.key, provider, number, count, number * INPUT + count * OUTPUT)

    async def follow(self, result, taken):
        """Checks that the task belongs to the caller, even if the provider has repeated its id."""
        midjourney = result.kind == "task of Midjourney"
        name = taken.get("result") if midjourney else taken.get("id")
        result.record = (result.key, "midjourney", 0, 0, TASK) if midjourney else (result.key, "good-deepseek", 0, 0, 4 * SECOND)
        task = await self.send(result, "GET", f"/mj/task/{name}/fetch" if midjourney else f"/v1/videos/{name}")
        if task is not None and task.json().get("id") != name:
            result.fault = f"requested {name}, received {task}"
        self.tasks.append((name, result.kind, result.key))

    async def request_local_model(self, result, stream):
        body = {"model": "deepseek-chat", "max_tokens": LOCAL_TOKENS, "stream": stream, "messages": [{"role": "user", "content": f"Story {result.number}: the whale went down."}]}
        if stream:
            body["stream_options"] = {"include_usage": True}
        reply = await self.send(result, "POST", "/chat/completions", body)
        if reply is None:
            return
        counts = reply.json()["usage"] if not stream else last_usage(reply.body)
        if counts is None or (stream and b"[DONE]" not in reply.body):
            result.fault = f"incomplete response: {reply}"
            return
        prompt, completion = counts["prompt_tokens"], counts["completion_tokens"]
        result.record = (result.key, "local", prompt, completion, prompt * INPUT + completion * OUTPUT)


def last_usage(body):
    for line in reversed(body.split(b"\n")):
        if line.startswith(b"data: {") and b'"usage":{' in line:
            return json.loads(line[6:])["usage"]
    return None


def percentile(values, share):
    """The smallest value that a share of `share` does not exceed."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def slowest(results, share=0.99):
    """Percentiles of the time to the first byte and to the complete response, for providers and for the local model."""
    found = {}
    for name, of in (("providers", lambda kind: not kind.startswith("local")), ("the local model", lambda kind: kind.startswith("local"))):
        times = [result for result in results if of(result.kind) and result.fault is None]
        if times:
            found[name, "first byte"] = percentile([result.first for result in times if result.first is not None], share)
            found[name, "complete"] = percentile([result.total for result in times], share)
    return found
