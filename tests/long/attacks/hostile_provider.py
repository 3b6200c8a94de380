"""A hostile provider. The name of the requested model selects its behaviour; parameters are in the prompt.

It sends at most `BYTES_PER_SECOND` over all connections, and at most a cap for each response. It records a fault when the gateway reads
an endless response up to the cap, and when it receives a request that should not have been sent to it."""

import asyncio
import gzip
import json
import re
import time

import client
import fake_provider

BYTES_PER_SECOND = 24 << 20
MIB = 1 << 20
# Invalid token counts, as JSON.
ABSURD = {
    "2^63": "9223372036854775808", "2^63-1": "9223372036854775807", "2^64": "18446744073709551616", "2^64-1": "18446744073709551615",
    "2^53+1": "9007199254740993", "2^31": "2147483648", "2^24+1": "16777217", "5000": "5000", "1e308": "1e308", "1e400": "1e400", "1e19": "1e19", "digits": "9" * 4000,
    "-1": "-1", "-2^63": "-9223372036854775808", "-1e308": "-1e308", "7.5": "7.5", "text": '"7"', "long-text": '"9223372036854775808"',
    "object": '{"n":{"n":7}}', "list": "[7]", "true": "true", "null": "null", "twice": '3,"prompt_tokens":9223372036854775808',
}
FIELDS = ("prompt", "completion", "cached", "written", "reasoning", "total", "all", "whole", "missing")


def absurd_usage(dialect, field, value):
    """The usage object of a response, as JSON, with an absurd `value` in one field."""
    if field == "whole":
        return value.split(",")[0]
    counts, hole = fake_provider.usage(dialect, 9, 3), "@"
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


class HostileProvider(fake_provider.HttpServer):
    def __init__(self, secrets):
        super().__init__()
        # Environment variables that no request may contain.
        self.secrets, self.request_count, self.tasks = [secret.encode() for secret in secrets], 0, 0
        self.throttle = client.Throttle(BYTES_PER_SECOND)

    async def handle(self, request, writer):
        self.request_count += 1
        for secret in self.secrets:
            if secret in request.head or secret in request.body:
                self.faults.append(f"received a secret of the environment with {request.head[:80]!r}")
        found = re.search(rb"models/([\w-]+):", request.path.encode()) or re.search(rb'"model": ?"([\w-]+)"', request.body)
        model = found.group(1).decode() if found else "plain"
        if request.path.startswith(("/mj/", "/suno/")) or "/videos" in request.path:
            return self.task(request, writer)
        if request.path.endswith("/audio/speech"):
            return self.send(writer, 200, b"ID3\x04" + bytes(60), "audio/mpeg")
        if "/images/" in request.path or "/audio/" in request.path:
            return self.send(writer, 200, {"created": 1, "data": []})
        if request.path.endswith("/embeddings"):
            return self.send(writer, 200, {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9}})
        return await getattr(self, "do_" + model.replace("-", "_"), self.do_plain)(request, writer)

    def respond(self, request, writer, text="a b c", counts=""):
        """A non-streaming or streaming response in the dialect of the request. `counts` is its usage as JSON; without usage if None."""
        counts = json.dumps(fake_provider.usage(request.dialect, 9, 3)) if counts == "" else counts
        hole = None if counts is None else "@"
        if not request.streams():
            return self.send(writer, 200, json.dumps(fake_provider.complete_response(request.dialect, text, hole)).replace('"@"', counts or "").encode())
        self.start_chunked(writer)
        for event in fake_provider.sse_events(request.dialect, text.split(), hole):
            self.chunk(writer, event.replace(b'"@"', (counts or "").encode()))
        writer.write(b"0\r\n\r\n")
        return True

    async def do_plain(self, request, writer):
        return self.respond(request, writer)

    async def do_usage(self, request, writer):
        field, name = re.search(rb"use:([a-z]+):([\w^.+-]+)", request.body).groups()
        if field == b"missing":
            return self.respond(request, writer, counts=None)
        return self.respond(request, writer, counts=absurd_usage(request.dialect, field.decode(), ABSURD[name.decode()]))

    # A 200 that is not a response of the API.

    async def do_html(self, request, writer):
        return self.send(writer, 200, b"<!doctype html><html><body>Welcome to the captive portal</body></html>", "text/html; charset=utf-8")

    async def do_html_as_json(self, request, writer):
        return self.send(writer, 200, b"<html><body>502 Bad Gateway</body></html>", "text/event-stream" if request.streams() else "application/json")

    async def do_empty(self, request, writer):
        return self.send(writer, 200, b"", "text/event-stream" if request.streams() else "application/json")

    async def do_text(self, request, writer):
        return self.send(writer, 200, b"OK\n", "text/plain")

    async def do_odd(self, request, writer):
        """JSON that the dialect does not define."""
        body = [b"[]", b"null", b"7", b'"yes"', b"{}", b'{"ok":true}', b'{"choices":7}', b'{"error":null}'][self.request_count % 8]
        if not request.streams():
            return self.send(writer, 200, body)
        return self.send(writer, 200, b"data: %s\n\n" % body, "text/event-stream")

    async def do_gzip(self, request, writer):
        """A response in an encoding that was not requested."""
        body = json.dumps(fake_provider.complete_response(request.dialect, "a b c", fake_provider.usage(request.dialect, 9, 3))).encode()
        return self.send(writer, 200, gzip.compress(body), headers="content-encoding: gzip\r\n")

    async def do_gzip_bomb(self, request, writer):
        return self.send(writer, 200, gzip.compress(b"[" + b"{}," * (8 << 20) + b"{}]"), headers="content-encoding: gzip\r\n")

    # Responses that echo the request with its credentials.

    async def do_echo(self, request, writer):
        status = int(re.search(rb"status:(\d+)", request.body).group(1))
        words = request.head.decode("latin-1").replace("\r\n", " ")
        kind = self.request_count % 4
        if kind == 0:
            return self.send(writer, status, {"error": {"message": f"odd request: {words}", "type": words, "code": words}})
        if kind == 1:
            return self.send(writer, status, words.encode(), "text/plain")
        if kind == 2:
            return self.send(writer, status, {"detail": [{"headers": words}]}, headers=f"x-request: {words}\r\nwww-authenticate: {words}\r\n")
        return self.send(writer, status, f"<pre>{words}</pre>".encode(), "text/html", f"retry-after: {'9' * 40}\r\nlocation: http://127.0.0.1/?{words.replace(' ', '')}\r\n")

    async def do_echo_in_answer(self, request, writer):
        words = re.sub(r"\s+", "_", request.head.decode("latin-1"))
        return self.respond(request, writer, f"you sent {words} .")

    async def do_echo_in_event(self, request, writer):
        self.start_chunked(writer)
        self.chunk(writer, b"event: error\ndata: %s\n\n" % json.dumps({"type": "error", "error": {"type": "odd", "message": request.head.decode("latin-1")}}).encode())
        writer.write(b"0\r\n\r\n")
        return True

    async def do_status(self, request, writer):
        """Unusual statuses."""
        status = [203, 204, 205, 206, 299, 301, 304, 307, 401, 402, 403, 404, 407, 418, 429, 451, 500, 503, 507, 599, 700, 999][self.request_count % 22]
        headers = f"retry-after: {['-1', '1e300', 'NaN', '99999999999999999999', 'soon'][self.request_count % 5]}\r\nlocation: http://127.0.0.1:1/latest/meta-data\r\n"
        return self.send(writer, status, b"", headers=headers)

    # Endless responses.

    async def do_endless_line(self, request, writer):
        self.start_chunked(writer)
        return await self.pump(writer, b"data: ", b"x" * 65536, 64 * MIB)

    async def do_endless_event(self, request, writer):
        self.start_chunked(writer)
        return await self.pump(writer, b"", b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 1024, 64 * MIB)

    async def do_endless_comments(self, request, writer):
        self.start_chunked(writer)
        return await self.pump(writer, b"", b": nothing yet\n" * 4096, 64 * MIB, counts_as_fault=False)

    async def do_endless_whole(self, request, writer):
        self.start_chunked(writer, "application/json")
        return await self.pump(writer, b'{"id":"', b"x" * 65536, 320 * MIB)

    async def do_endless_space(self, request, writer):
        self.start_chunked(writer, "application/json")
        return await self.pump(writer, b"", b"\n" * 65536, 320 * MIB)

    async def do_endless_headers(self, request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        return await self.pump(writer, b"", b"x-more: and more of them\r\n" * 1024, 64 * MIB, framed=False)

    async def do_endless_header(self, request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        return await self.pump(writer, b"", b"x" * 65536, 64 * MIB, framed=False)

    async def do_endless_trailers(self, request, writer):
        self.start_chunked(writer)
        writer.write(b"0\r\n")
        return await self.pump(writer, b"", b"x-more: and more of them\r\n" * 1024, 64 * MIB, framed=False)

    async def do_endless_extension(self, request, writer):
        self.start_chunked(writer)
        writer.write(b"5;x=")
        return await self.pump(writer, b"", b"x" * 65536, 64 * MIB, framed=False)

    async def do_endless_refusal(self, request, writer):
        writer.write(b"HTTP/1.1 400 X\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
        return await self.pump(writer, b"", b"x" * 65536, 64 * MIB)

    async def do_informational(self, request, writer):
        for _ in range(900):
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
        self.faults.append("informational: the gateway reads statuses of 103 for 90 s")
        return False

    # Large or deeply nested responses.

    async def do_keys(self, request, writer):
        keys = ",".join(f'"k{n}":{n}' for n in range(100_000))
        if not request.streams():
            return self.send(writer, 200, ("{%s,%s" % (keys, json.dumps(fake_provider.complete_response(request.dialect, "a b c", fake_provider.usage(request.dialect, 9, 3)))[1:])).encode())
        self.start_chunked(writer)
        self.chunk(writer, b"data: {%s,\"usage\":{},\"choices\":[]}\n\n" % keys.encode())
        for event in fake_provider.sse_events(request.dialect, ["a", "b", "c"], fake_provider.usage(request.dialect, 9, 3)):
            self.chunk(writer, event)
        writer.write(b"0\r\n\r\n")
        return True

    async def do_deep(self, request, writer):
        body = b'{"usage":' + b"[" * 200_000
        return self.send(writer, 200, b"data: %s\n\n" % body if request.streams() else body, "text/event-stream" if request.streams() else "application/json")

    async def do_choices(self, request, writer):
        """Many choices, with huge indices."""
        choices = [{"index": 2**40 + n, "delta": {"content": "x", "tool_calls": [{"index": 2**40 + n, "id": "i", "function": {"name": "f", "arguments": "{"}}]}, "message": {"content": "x"}} for n in range(20_000)]
        body = json.dumps({"choices": choices, "candidates": choices, "content": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 3}}).encode()
        return self.send(writer, 200, b"data: %s\n\ndata: [DONE]\n\n" % body if request.streams() else body, "text/event-stream" if request.streams() else "application/json")

    async def do_broken_text(self, request, writer):
        """Invalid UTF-8, lone surrogates, control characters."""
        body = b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe\\ud800\\u0000\x01"},"message":{"content":"\xc3\x28\\udfff"}}]}'
        return self.send(writer, 200, b"data: %s\n\ndata: [DONE]\n\n" % body if request.streams() else body, "text/event-stream" if request.streams() else "application/json")

    # Silent, slow and broken responses.

    async def do_never(self, request, writer):
        await self.wait_for_disconnect(request, 90, "never: the gateway waits for a response")
        return False

    async def do_slow_head(self, request, writer):
        for letter in b"HTTP/1.1 200 OK\r\nx-slow: " + b"y" * 70:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(1)
        return False

    async def do_silent(self, request, writer):
        self.start_chunked(writer)
        self.chunk(writer, next(iter(fake_provider.sse_events(request.dialect, ["a"], None))))
        await self.wait_for_disconnect(request, 30)
        return False

    async def do_broken_head(self, request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
        return False

    async def do_broken_middle(self, request, writer):
        if request.streams():
            self.start_chunked(writer)
            for event in list(fake_provider.sse_events(request.dialect, ["a", "b"], None))[:2]:
                self.chunk(writer, event)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
        return False

    async def do_no_end(self, request, writer):
        """A stream without its final events."""
        self.start_chunked(writer)
        for event in list(fake_provider.sse_events(request.dialect, ["a", "b"], None))[:2]:
            self.chunk(writer, event)
        writer.write(b"0\r\n\r\n")
        return True

    async def do_more_after_end(self, request, writer):
        self.start_chunked(writer)
        for event in [*fake_provider.sse_events(request.dialect, ["a", "b", "c"], fake_provider.usage(request.dialect, 9, 3))] * 2:
            self.chunk(writer, event)
        return await self.pump(writer, b"", b'data: {"choices":[],"usage":{"prompt_tokens":9223372036854775807}}\n\n' * 512, 16 * MIB, counts_as_fault=False)

    async def do_flood(self, request, writer):
        """A long stream of valid events, for slow readers."""
        self.start_chunked(writer)
        piece = next(iter(fake_provider.sse_events(request.dialect, ["a" * 8192], None))) if request.dialect != "anthropic" else b": \n\n"
        return await self.pump(writer, b"", piece * 8, 32 * MIB, counts_as_fault=False)

    def task(self, request, writer):
        """Tasks with the same ids for all clients."""
        if request.method == b"GET":
            name = [part for part in request.path.split("?")[0].split("/") if part not in ("fetch", "content")][-1]
            status = "FAILURE" if "bad" in name else "SUCCESS"
            if request.path.startswith("/suno/"):
                return self.send(writer, 200, {"code": "success", "message": "", "data": {"task_id": name, "status": status, "data": []}})
            if request.path.startswith("/mj/"):
                return self.send(writer, 200, {"id": name, "status": status, "progress": "100%", "imageUrl": "x", "buttons": []})
            return self.send(writer, 200, {"id": name, "object": "video", "status": "failed" if "bad" in name else "completed"})
        self.tasks += 1
        for field, most in (("seconds", 3600), ("n", 128)):
            found = re.search(rf'"{field}": ?"?(\d+)'.encode(), request.body)
            if found and int(found.group(1)) > most:
                self.faults.append(f"a task of {field} = {found.group(1).decode()} was requested, which exceeds every budget")
        name = "bad" if b"fail" in request.body else "same"
        if request.path.startswith("/suno/"):
            return self.send(writer, 200, {"code": "success", "message": "", "data": f"{name}-1"})
        if request.path.startswith("/mj/"):
            return self.send(writer, 200, {"code": 1, "description": "ok", "result": f"{name}-1", "properties": {}})
        return self.send(writer, 200, {"id": f"video_{name}", "object": "video", "status": "queued"})

    async def pump(self, writer, begin, piece, cap, counts_as_fault=True, framed=True):
        """Sends pieces until the gateway disconnects, or up to the cap."""
        if begin:
            self.chunk(writer, begin)
        sent = 0
        while sent < cap:
            await self.throttle(len(piece))
            if writer.is_closing():
                return False
            if framed:
                self.chunk(writer, piece)
            else:
                writer.write(piece)
            await writer.drain()
            sent += len(piece)
        if counts_as_fault:
            self.faults.append(f"the gateway read {cap >> 20} MiB of an endless response, beginning with {piece[:24]!r}")
        return False

    async def wait_for_disconnect(self, request, seconds, fault=None):
        """Waits until the gateway disconnects."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            if request.reader.at_eof():
                return
        if fault:
            self.faults.append(f"{fault} for {seconds} s")


# The models of each hostile provider: its behaviours.
MODELS = sorted(name.removeprefix("do_").replace("_", "-") for name in dir(HostileProvider) if name.startswith("do_"))
