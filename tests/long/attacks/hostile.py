"""A provider that answers as it should not. What it does is the name of the model that is asked for; details are in the prompt.

What it sends is bounded: at most `RATE` bytes a second over all connections, and at most a cap each. Who takes in more than the
cap of what has no end is noted as a fault, and so is a request that should never have been sent here."""

import asyncio
import gzip
import json
import re
import time

import fake

RATE = 24 << 20
MIB = 1 << 20
# Values that no count can have, as they stand in JSON.
ABSURD = {
    "2^63": "9223372036854775808", "2^63-1": "9223372036854775807", "2^64": "18446744073709551616", "2^64-1": "18446744073709551615",
    "2^53+1": "9007199254740993", "2^31": "2147483648", "2^24+1": "16777217", "5000": "5000", "1e308": "1e308", "1e400": "1e400", "1e19": "1e19", "digits": "9" * 4000,
    "-1": "-1", "-2^63": "-9223372036854775808", "-1e308": "-1e308", "7.5": "7.5", "text": '"7"', "long-text": '"9223372036854775808"',
    "object": '{"n":{"n":7}}', "list": "[7]", "true": "true", "null": "null", "twice": '3,"prompt_tokens":9223372036854775808',
}
FIELDS = ("prompt", "completion", "cached", "written", "reasoning", "total", "all", "whole", "missing")


def absurd_usage(dialect, field, value):
    """The counts of an answer, as JSON, with an absurd `value` in one place."""
    if field == "whole":
        return value.split(",")[0]
    counts, hole = fake.usage(dialect, 9, 3), "@"
    if dialect == "anthropic":
        places = {"prompt": ["input_tokens"], "completion": ["output_tokens"], "cached": ["cache_read_input_tokens"], "written": ["cache_creation_input_tokens"]}
    elif dialect == "gemini":
        places = {"prompt": ["promptTokenCount"], "completion": ["candidatesTokenCount"], "cached": ["cachedContentTokenCount"], "reasoning": ["thoughtsTokenCount"], "total": ["totalTokenCount"]}
    else:
        places = {"prompt": ["prompt_tokens"], "completion": ["completion_tokens"], "cached": ["prompt_tokens_details", "cached_tokens"],
                  "written": ["prompt_cache_hit_tokens"], "reasoning": ["completion_tokens_details", "reasoning_tokens"], "total": ["total_tokens"]}
    for path in places.values() if field == "all" else [places.get(field, places["prompt"])]:
        place = counts
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = hole
    return json.dumps(counts).replace('"@"', value)


class Hostile(fake.HttpServer):
    def __init__(self, secrets):
        super().__init__()
        # Variables of the environment that no request may ever bring here.
        self.secrets, self.asked, self.tasks = [secret.encode() for secret in secrets], 0, 0
        self.tokens, self.filled = RATE, time.monotonic()

    async def answer(self, asked, writer):
        self.asked += 1
        for secret in self.secrets:
            if secret in asked.head or secret in asked.body:
                self.faults.append(f"a secret of the environment came with {asked.head[:80]!r}")
        found = re.search(rb"models/([\w-]+):", asked.path.encode()) or re.search(rb'"model": ?"([\w-]+)"', asked.body)
        model = found.group(1).decode() if found else "plain"
        if asked.path.startswith(("/mj/", "/suno/")) or "/videos" in asked.path:
            return self.task(asked, writer)
        if "/images/" in asked.path or "/audio/" in asked.path:
            return self.send(writer, 200, {"created": 1, "data": []})
        if asked.path.endswith("/embeddings"):
            return self.send(writer, 200, {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9}})
        return await getattr(self, "do_" + model.replace("-", "_"), self.do_plain)(asked, writer)

    def say(self, asked, writer, text="a b c", counts=""):
        """A whole answer, or a stream, in the dialect that was asked in. `counts` is its usage as JSON; None: it has none."""
        counts = json.dumps(fake.usage(asked.dialect, 9, 3)) if counts == "" else counts
        hole = None if counts is None else "@"
        if not asked.streams():
            return self.send(writer, 200, json.dumps(fake.whole(asked.dialect, text, hole)).replace('"@"', counts or "").encode())
        self.begin(writer)
        for event in fake.events(asked.dialect, text.split(), hole):
            self.chunk(writer, event.replace(b'"@"', (counts or "").encode()))
        writer.write(b"0\r\n\r\n")
        return True

    async def do_plain(self, asked, writer):
        return self.say(asked, writer)

    async def do_usage(self, asked, writer):
        field, name = re.search(rb"use:([a-z]+):([\w^.+-]+)", asked.body).groups()
        if field == b"missing":
            return self.say(asked, writer, counts=None)
        return self.say(asked, writer, counts=absurd_usage(asked.dialect, field.decode(), ABSURD[name.decode()]))

    # A 200 that cannot be an answer.

    async def do_html(self, asked, writer):
        return self.send(writer, 200, b"<!doctype html><html><body>Welcome to the captive portal</body></html>", "text/html; charset=utf-8")

    async def do_html_as_json(self, asked, writer):
        return self.send(writer, 200, b"<html><body>502 Bad Gateway</body></html>", "text/event-stream" if asked.streams() else "application/json")

    async def do_empty(self, asked, writer):
        return self.send(writer, 200, b"", "text/event-stream" if asked.streams() else "application/json")

    async def do_text(self, asked, writer):
        return self.send(writer, 200, b"OK\n", "text/plain")

    async def do_odd(self, asked, writer):
        """JSON, and nothing that the dialect knows."""
        body = [b"[]", b"null", b"7", b'"yes"', b"{}", b'{"ok":true}', b'{"choices":7}', b'{"error":null}'][self.asked % 8]
        if not asked.streams():
            return self.send(writer, 200, body)
        return self.send(writer, 200, b"data: %s\n\n" % body, "text/event-stream")

    async def do_gzip(self, asked, writer):
        """An answer in an encoding that nobody has asked for."""
        body = json.dumps(fake.whole(asked.dialect, "a b c", fake.usage(asked.dialect, 9, 3))).encode()
        return self.send(writer, 200, gzip.compress(body), headers="content-encoding: gzip\r\n")

    async def do_gzip_bomb(self, asked, writer):
        return self.send(writer, 200, gzip.compress(b"[" + b"{}," * (8 << 20) + b"{}]"), headers="content-encoding: gzip\r\n")

    # Words that quote the request with its credentials.

    async def do_quote(self, asked, writer):
        status = int(re.search(rb"status:(\d+)", asked.body).group(1))
        words = asked.head.decode("latin-1").replace("\r\n", " ")
        kind = self.asked % 4
        if kind == 0:
            return self.send(writer, status, {"error": {"message": f"odd request: {words}", "type": words, "code": words}})
        if kind == 1:
            return self.send(writer, status, words.encode(), "text/plain")
        if kind == 2:
            return self.send(writer, status, {"detail": [{"headers": words}]}, headers=f"x-request: {words}\r\nwww-authenticate: {words}\r\n")
        return self.send(writer, status, f"<pre>{words}</pre>".encode(), "text/html", f"retry-after: {'9' * 40}\r\nlocation: http://127.0.0.1/?{words.replace(' ', '')}\r\n")

    async def do_quote_in_answer(self, asked, writer):
        words = re.sub(r"\s+", "_", asked.head.decode("latin-1"))
        return self.say(asked, writer, f"you sent {words} .")

    async def do_quote_in_event(self, asked, writer):
        self.begin(writer)
        self.chunk(writer, b"event: error\ndata: %s\n\n" % json.dumps({"type": "error", "error": {"type": "odd", "message": asked.head.decode("latin-1")}}).encode())
        writer.write(b"0\r\n\r\n")
        return True

    async def do_status(self, asked, writer):
        """Statuses that nothing should answer a request with."""
        status = [203, 204, 205, 206, 299, 301, 304, 307, 401, 402, 403, 404, 407, 418, 429, 451, 500, 503, 507, 599, 700, 999][self.asked % 22]
        headers = f"retry-after: {['-1', '1e300', 'NaN', '99999999999999999999', 'soon'][self.asked % 5]}\r\nlocation: http://127.0.0.1:1/latest/meta-data\r\n"
        return self.send(writer, status, b"", headers=headers)

    # What has no end.

    async def do_endless_line(self, asked, writer):
        self.begin(writer)
        return await self.pump(writer, b"data: ", b"x" * 65536, 64 * MIB)

    async def do_endless_event(self, asked, writer):
        self.begin(writer)
        return await self.pump(writer, b"", b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 1024, 64 * MIB)

    async def do_endless_comments(self, asked, writer):
        self.begin(writer)
        return await self.pump(writer, b"", b": nothing yet\n" * 4096, 64 * MIB, judged=False)

    async def do_endless_whole(self, asked, writer):
        self.begin(writer, "application/json")
        return await self.pump(writer, b'{"id":"', b"x" * 65536, 320 * MIB)

    async def do_endless_space(self, asked, writer):
        self.begin(writer, "application/json")
        return await self.pump(writer, b"", b"\n" * 65536, 320 * MIB)

    async def do_endless_headers(self, asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        return await self.pump(writer, b"", b"x-more: and more of them\r\n" * 1024, 64 * MIB, framed=False)

    async def do_endless_header(self, asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        return await self.pump(writer, b"", b"x" * 65536, 64 * MIB, framed=False)

    async def do_endless_trailers(self, asked, writer):
        self.begin(writer)
        writer.write(b"0\r\n")
        return await self.pump(writer, b"", b"x-more: and more of them\r\n" * 1024, 64 * MIB, framed=False)

    async def do_endless_extension(self, asked, writer):
        self.begin(writer)
        writer.write(b"5;x=")
        return await self.pump(writer, b"", b"x" * 65536, 64 * MIB, framed=False)

    async def do_endless_refusal(self, asked, writer):
        writer.write(b"HTTP/1.1 400 X\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
        return await self.pump(writer, b"", b"x" * 65536, 64 * MIB)

    async def do_informational(self, asked, writer):
        for _ in range(900):
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
        self.faults.append("informational: 90 s of 103 are waited for")
        return False

    # Much of it, or deep.

    async def do_keys(self, asked, writer):
        keys = ",".join(f'"k{n}":{n}' for n in range(100_000))
        if not asked.streams():
            return self.send(writer, 200, ("{%s,%s" % (keys, json.dumps(fake.whole(asked.dialect, "a b c", fake.usage(asked.dialect, 9, 3)))[1:])).encode())
        self.begin(writer)
        self.chunk(writer, b"data: {%s,\"usage\":{},\"choices\":[]}\n\n" % keys.encode())
        for event in fake.events(asked.dialect, ["a", "b", "c"], fake.usage(asked.dialect, 9, 3)):
            self.chunk(writer, event)
        writer.write(b"0\r\n\r\n")
        return True

    async def do_deep(self, asked, writer):
        body = b'{"usage":' + b"[" * 200_000
        return self.send(writer, 200, b"data: %s\n\n" % body if asked.streams() else body, "text/event-stream" if asked.streams() else "application/json")

    async def do_choices(self, asked, writer):
        """Many choices, under numbers that no list has room for."""
        choices = [{"index": 2**40 + n, "delta": {"content": "x", "tool_calls": [{"index": 2**40 + n, "id": "i", "function": {"name": "f", "arguments": "{"}}]}, "message": {"content": "x"}} for n in range(20_000)]
        body = json.dumps({"choices": choices, "candidates": choices, "content": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 3}}).encode()
        return self.send(writer, 200, b"data: %s\n\ndata: [DONE]\n\n" % body if asked.streams() else body, "text/event-stream" if asked.streams() else "application/json")

    async def do_broken_text(self, asked, writer):
        """No UTF-8, lone surrogates, control characters."""
        body = b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe\\ud800\\u0000\x01"},"message":{"content":"\xc3\x28\\udfff"}}]}'
        return self.send(writer, 200, b"data: %s\n\ndata: [DONE]\n\n" % body if asked.streams() else body, "text/event-stream" if asked.streams() else "application/json")

    # Silence, slowness and breaks.

    async def do_never(self, asked, writer):
        await self.closed(asked, 90, "never: no answer is waited for")
        return False

    async def do_slow_head(self, asked, writer):
        for letter in b"HTTP/1.1 200 OK\r\nx-slow: " + b"y" * 70:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(1)
        return False

    async def do_silent(self, asked, writer):
        self.begin(writer)
        self.chunk(writer, next(iter(fake.events(asked.dialect, ["a"], None))))
        await self.closed(asked, 30)
        return False

    async def do_broken_head(self, asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
        return False

    async def do_broken_middle(self, asked, writer):
        if asked.streams():
            self.begin(writer)
            for event in list(fake.events(asked.dialect, ["a", "b"], None))[:2]:
                self.chunk(writer, event)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
        return False

    async def do_no_end(self, asked, writer):
        """A stream that stops without saying so."""
        self.begin(writer)
        for event in list(fake.events(asked.dialect, ["a", "b"], None))[:2]:
            self.chunk(writer, event)
        writer.write(b"0\r\n\r\n")
        return True

    async def do_more_after_end(self, asked, writer):
        self.begin(writer)
        for event in [*fake.events(asked.dialect, ["a", "b", "c"], fake.usage(asked.dialect, 9, 3))] * 2:
            self.chunk(writer, event)
        return await self.pump(writer, b"", b'data: {"choices":[],"usage":{"prompt_tokens":9223372036854775807}}\n\n' * 512, 16 * MIB, judged=False)

    async def do_flood(self, asked, writer):
        """A long stream of right events, for readers that are slow."""
        self.begin(writer)
        piece = next(iter(fake.events(asked.dialect, ["a" * 8192], None))) if asked.dialect != "anthropic" else b": \n\n"
        return await self.pump(writer, b"", piece * 8, 32 * MIB, judged=False)

    def task(self, asked, writer):
        """The same ids for everybody."""
        if asked.method == b"GET":
            name = [part for part in asked.path.split("?")[0].split("/") if part not in ("fetch", "content")][-1]
            status = "FAILURE" if "bad" in name else "SUCCESS"
            if asked.path.startswith("/suno/"):
                return self.send(writer, 200, {"code": "success", "message": "", "data": {"task_id": name, "status": status, "data": []}})
            if asked.path.startswith("/mj/"):
                return self.send(writer, 200, {"id": name, "status": status, "progress": "100%", "imageUrl": "x", "buttons": []})
            return self.send(writer, 200, {"id": name, "object": "video", "status": "failed" if "bad" in name else "completed"})
        self.tasks += 1
        for field, most in (("seconds", 3600), ("n", 128)):
            found = re.search(rf'"{field}": ?"?(\d+)'.encode(), asked.body)
            if found and int(found.group(1)) > most:
                self.faults.append(f"a task of {field} = {found.group(1).decode()} was asked for, which nobody can have paid")
        name = "bad" if b"fail" in asked.body else "same"
        if asked.path.startswith("/suno/"):
            return self.send(writer, 200, {"code": "success", "message": "", "data": f"{name}-1"})
        if asked.path.startswith("/mj/"):
            return self.send(writer, 200, {"code": 1, "description": "ok", "result": f"{name}-1", "properties": {}})
        return self.send(writer, 200, {"id": f"video_{name}", "object": "video", "status": "queued"})

    async def pump(self, writer, begin, piece, cap, judged=True, framed=True):
        """Sends pieces without end: until the other side leaves, or the cap."""
        if begin:
            self.chunk(writer, begin)
        sent = 0
        while sent < cap:
            await self.pace(len(piece))
            if writer.is_closing():
                return False
            if framed:
                self.chunk(writer, piece)
            else:
                writer.write(piece)
            await writer.drain()
            sent += len(piece)
        if judged:
            self.faults.append(f"{cap >> 20} MiB of what has no end were taken in, beginning with {piece[:24]!r}")
        return False

    async def closed(self, asked, seconds, fault=None):
        """Waits for the other side to leave."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            if asked.reader.at_eof():
                return
        if fault:
            self.faults.append(f"{fault} for {seconds} s")

    async def pace(self, n):
        while True:
            now = time.monotonic()
            self.tokens, self.filled = min(RATE, self.tokens + (now - self.filled) * RATE), now
            if self.tokens > 0:
                self.tokens -= n
                return
            await asyncio.sleep(0.01)


# The models that each of the hostile providers offers.
MODELS = sorted(name.removeprefix("do_").replace("_", "-") for name in dir(Hostile) if name.startswith("do_"))
