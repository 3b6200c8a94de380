"""A correct fake provider of every dialect, and the HTTP server that it shares with the hostile one.

/deepseek/v1, /openai/v1, /anthropic/v1 and /gemini/v1beta serve text; /deepseek/v1 also serves embeddings, images and videos, and /
Midjourney's tasks. The answer to a prompt with `#N.` has `words(N)` words and is counted as N prompt tokens, which identifies its
usage record and its price. Ids of tasks repeat."""

import asyncio
import json
import random
import re

NUMBER = re.compile(rb"#(\d+)\.")
TASK_IDS = 3


def words(number):
    return 1 + number % 12


def usage(dialect, prompt, completion, cached=0, written=(0, 0), reasoning=0, audio=0, pictures=0, searches=0, tier=None):
    """The usage object of a dialect. The prompt includes cached tokens, those written to the cache for five minutes and for an hour, and
    those of audio; the completion the reasoning and the tokens of pictures. Only Anthropic's counts writes and names the service tier,
    but has no reasoning, audio or pictures; Gemini's has no searches."""
    if dialect == "anthropic":
        counts = {"input_tokens": prompt - cached - sum(written), "cache_read_input_tokens": cached, "cache_creation_input_tokens": sum(written)}
        lifetimes = {"ephemeral_5m_input_tokens": written[0], "ephemeral_1h_input_tokens": written[1]}
        more = {"server_tool_use": {"web_search_requests": searches}, "service_tier": tier or "standard"}
        return {**counts, "cache_creation": lifetimes, "output_tokens": completion, **more}
    if dialect == "gemini":
        counts = {"promptTokenCount": prompt, "cachedContentTokenCount": cached, "candidatesTokenCount": completion - reasoning}
        heard = [{"modality": "TEXT", "tokenCount": prompt - audio}, {"modality": "AUDIO", "tokenCount": audio}]
        drawn = [{"modality": "IMAGE", "tokenCount": pictures}]
        counts |= {"promptTokensDetails": heard, "candidatesTokensDetails": drawn}
        return {**counts, "thoughtsTokenCount": reasoning, "totalTokenCount": prompt + completion}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    prompt_details = {"cached_tokens": cached, "audio_tokens": audio}
    completion_details = {"reasoning_tokens": reasoning, "image_tokens": pictures}
    details = {"prompt_tokens_details": prompt_details, "completion_tokens_details": completion_details}
    return {**counts, **details, "server_tool_use": {"web_search_requests": searches}}


def complete_response(dialect, text, counts, model="m"):
    """A non-streaming response; without usage if `counts` is None."""
    if dialect == "anthropic":
        answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn"}
        answer |= {"stop_sequence": None, "content": [{"type": "text", "text": text}]}
        return {**answer, **({} if counts is None else {"usage": counts})}
    if dialect == "gemini":
        content = {"role": "model", "parts": [{"text": text}]}
        answer = {"candidates": [{"index": 0, "content": content, "finishReason": "STOP"}], "modelVersion": model}
        return {**answer, **({} if counts is None else {"usageMetadata": counts})}
    message = {"role": "assistant", "content": text}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": model}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {**answer, **({} if counts is None else {"usage": counts})}


def sse_events(dialect, pieces, counts, model="m"):
    """The SSE events of a streaming response, as bytes."""
    if dialect == "anthropic":
        start = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
        # The first event counts the prompt, and one token of the answer.
        first = {"input_tokens": 0, "output_tokens": 1} if counts is None else counts
        start |= {"stop_reason": None, "stop_sequence": None, "usage": {**first, "output_tokens": 1} if isinstance(first, dict) else first}
        yield _event({"type": "message_start", "message": start})
        yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for piece in pieces:
            yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
        yield _event({"type": "content_block_stop", "index": 0})
        ends = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
        yield _event({**ends, **({} if counts is None else {"usage": counts})})
        yield _event({"type": "message_stop"})
    elif dialect == "gemini":
        for piece in pieces:
            yield _data({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": piece}]}}]})
        last = {"candidates": [{"index": 0, "content": {"role": "model", "parts": []}, "finishReason": "STOP"}]}
        yield _data({**last, **({} if counts is None else {"usageMetadata": counts})})
    else:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        for piece in pieces:
            yield _data({**chunk, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        yield _data({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if counts is not None:
            yield _data({**chunk, "choices": [], "usage": counts})
        yield b"data: [DONE]\n\n"


def _data(value):
    return b"data: %s\n\n" % json.dumps(value, separators=(",", ":")).encode()


def _event(value):
    return b"event: %s\n%s" % (value["type"].encode(), _data(value))


class ReceivedRequest:
    """A received request."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        self.method, self.path = head.split(b" ", 2)[:2]
        self.path = self.path.decode("latin-1")
        self.dialect = self.path.split("/")[1]

    def streams(self):
        return ":streamGenerateContent" in self.path or re.search(rb'"stream": ?true', self.body) is not None

    def number(self):
        found = NUMBER.search(self.body)
        return int(found.group(1)) if found else 0

    def json(self):
        return json.loads(self.body or b"{}")


class HttpServer:
    """A server with persistent connections. `handle` returns whether the connection stays open."""

    def __init__(self):
        self.faults = []

    async def start(self):
        # The memory of this process limits the size of a request.
        self.server = await asyncio.start_server(self.handle_connection, "127.0.0.1", 0, limit=1 << 20)
        return self.server.sockets[0].getsockname()[1]

    async def handle_connection(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.I)
                body = await reader.readexactly(int(length.group(1))) if length else b""
                request = ReceivedRequest(head, body)
                request.reader = reader
                if not await self.handle(request, writer):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # The gateway has disconnected.
        except asyncio.CancelledError:
            pass  # The test is over.
        except Exception as fault:  # An error of the test itself, not of the gateway.
            self.faults.append(f"{type(fault).__name__} in the provider: {fault}")
        finally:
            writer.close()

    @staticmethod
    def send(writer, status, body, kind="application/json", headers=""):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode("latin-1") + body)
        return True

    @staticmethod
    def start_chunked(writer, kind="text/event-stream"):
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())

    @staticmethod
    def chunk(writer, piece):
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))


class Provider(HttpServer):
    """The correct provider."""

    def __init__(self):
        super().__init__()
        self.tasks = 0

    async def handle(self, request, writer):
        number, path = request.number(), request.path
        if path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5] * 64}]
            return self.send(writer, 200, {"object": "list", "data": data, "model": "embed", "usage": {"prompt_tokens": number, "total_tokens": number}})
        if path.endswith("/images/generations"):
            picture = {"url": "https://example.org/whale.png"}
            return self.send(writer, 200, {"created": 1, "data": [picture] * request.json().get("n", 1)})
        if "/videos" in path or path.startswith("/mj/"):
            return self.task(request, writer)
        if not path.endswith(("/chat/completions", "/messages")) and ":" not in path:
            return self.send(writer, 404, {"error": {"message": f"no {path}"}})
        text = ["word "] * words(number)
        counts = usage(request.dialect, number, words(number))
        if not request.streams():
            return self.send(writer, 200, complete_response(request.dialect, "".join(text), counts))
        self.start_chunked(writer)
        for event in sse_events(request.dialect, text, counts):
            self.chunk(writer, event)
            await writer.drain()
            await asyncio.sleep(random.uniform(0.01, 0.03))
        writer.write(b"0\r\n\r\n")
        return True

    def task(self, request, writer):
        """Accepts tasks under repeated ids, and reports each as done."""
        self.tasks += request.method == b"POST"
        midjourney = request.path.startswith("/mj/")
        if request.method == b"POST":
            name = f"{4711 + self.tasks % TASK_IDS}" if midjourney else f"video_{self.tasks % TASK_IDS}"
            taken = {"code": 1, "description": "ok", "result": name, "properties": {}}
            return self.send(writer, 200, taken if midjourney else {"id": name, "object": "video", "status": "queued"})
        name = request.path.split("/")[3]
        if midjourney:
            done = {"id": name, "status": "SUCCESS", "progress": "100%", "imageUrl": "https://example.org/1.png", "buttons": []}
            return self.send(writer, 200, done)
        name = request.path.rsplit("/", 1)[1]
        return self.send(writer, 200, {"id": name, "object": "video", "status": "completed"})
