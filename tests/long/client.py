"""An HTTP/1.1 client that can send any bytes, and records the response and its times. Standard library only."""

import asyncio
import json
import re
import time

# Bytes of the end of a long response that are kept.
END = 512

# Connections are refused or reset while a server is killed, and when it closes an abused one.
BROKEN = (OSError, asyncio.IncompleteReadError)
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})")


class Throttle:
    """A token bucket of bytes that connections share. It fills in one second, and may go into debt."""

    def __init__(self, bytes_per_second):
        self.bytes_per_second, self.tokens, self.filled = bytes_per_second, bytes_per_second, time.monotonic()

    async def __call__(self, n):
        while True:
            now = time.monotonic()
            self.tokens = min(self.bytes_per_second, self.tokens + (now - self.filled) * self.bytes_per_second)
            self.filled = now
            if self.tokens > 0:
                self.tokens -= n
                return
            await asyncio.sleep(0.01)


class Reply:
    """The response on a connection: its bytes up to a limit, and its times."""

    def __init__(self):
        self.started = time.monotonic()
        self.bytes, self.received, self.first, self.total = bytearray(), 0, None, None
        self.ended = "open"  # "complete", "closed" early, "reset", "late", "left" by this client, "refused"

    @property
    def status(self):
        """0 without a status line."""
        found = STATUS.match(self.bytes)
        return int(found.group(1)) if found else 0

    @property
    def head(self):
        return bytes(self.bytes.partition(b"\r\n\r\n")[0])

    def header(self, name):
        found = re.search(rb"^" + name.encode() + rb": *([^\r]*)\r?$", self.head, re.I | re.M)
        return found.group(1).decode("latin-1") if found else None

    @property
    def body(self):
        """The decoded body, as far as it was kept."""
        head, _, rest = self.bytes.partition(b"\r\n\r\n")
        if not re.search(rb"transfer-encoding: *chunked", head, re.I):
            return bytes(rest)
        decoded, place = bytearray(), 0
        while True:
            line = rest.find(b"\r\n", place)
            size = re.match(rb"[0-9a-fA-F]+", rest[place:line]) if line >= 0 else None
            size = int(size.group(), 16) if size else 0  # The rest was not kept.
            if size == 0:
                return bytes(decoded)
            decoded += rest[line + 2 : line + 2 + size]
            place = line + 2 + size + 2

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def is_complete(self):
        """Whether the message is complete, by its own framing."""
        head, gap, rest = self.bytes.partition(b"\r\n\r\n")
        if not gap:
            return False
        length = re.search(rb"content-length: *(\d+)", head, re.I)
        if length:
            return self.received - len(head) - 4 >= int(length.group(1))
        if re.search(rb"transfer-encoding: *chunked", head, re.I):
            return rest.endswith(b"0\r\n\r\n")
        return self.status in (204, 304)

    def __str__(self):
        tail = self.body[-300:].decode("utf-8", "replace")
        return f"{self.status or 'no response'}, {self.ended} after {self.total or 0:.1f} s, {self.received} bytes: {tail!r}"


def request(method, path, key=None, body=b"", headers=(), content_type="application/json"):
    """The bytes of a request. `body` is bytes, or a value to encode as JSON."""
    if not isinstance(body, (bytes, bytearray)):
        body = json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "connection: close", *headers]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if body or method == "POST":
        lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + bytes(body)


async def send(port, payload, *, keep=1 << 20, timeout=60, leave_after=None, pace=None):
    """Sends bytes, or pieces of them from an iterable, and reads the response at the same time, until it ends.

    Keeps at most `keep` bytes of the response. Disconnects after `leave_after` bytes, and gives up after `timeout` seconds.
    `pace(n)` is awaited before n bytes are sent."""
    reply = Reply()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, limit=1 << 17), timeout)
    except BROKEN + (asyncio.TimeoutError,):
        reply.ended, reply.total = "refused", time.monotonic() - reply.started
        return reply
    sending = asyncio.create_task(_write(writer, payload, pace))
    try:
        await asyncio.wait_for(_read(reader, reply, keep, leave_after), timeout)
    except asyncio.TimeoutError:
        reply.ended = "late"
    except BROKEN:
        reply.ended = "reset"
    finally:
        sending.cancel()
        writer.close()
    reply.total = time.monotonic() - reply.started
    return reply


def hold_last_piece(length, barrier):
    """A `pace` for `send` that waits at `barrier` before the last piece of `length` bytes is sent."""
    left = length

    async def pace(n):
        nonlocal left
        left -= n
        if left == 0:
            await barrier.wait()

    return pace


async def _write(writer, payload, pace):
    try:
        for piece in [payload] if isinstance(payload, (bytes, bytearray)) else payload:
            for start in range(0, len(piece), 1 << 18):
                part = piece[start : start + (1 << 18)]
                if pace:
                    await pace(len(part))
                writer.write(part)
                await writer.drain()
    except BROKEN:
        pass  # The reader reports it.


async def _read(reader, reply, keep, leave_after):
    while True:
        more = await reader.read(1 << 16)
        if not more:
            reply.ended = "complete" if reply.bytes and (reply.is_complete() or b"-length" not in reply.head.lower() and b"chunked" not in reply.head) else "closed"
            return
        reply.received += len(more)
        if len(reply.bytes) < keep:
            reply.bytes += more
        else:
            # The end shows whether the response is complete, and whether it is an error.
            reply.bytes[-END:] = (reply.bytes[-END:] + more)[-END:]
        if reply.first is None and b"\r\n\r\n" in reply.bytes and not reply.bytes.endswith(b"\r\n\r\n"):
            reply.first = time.monotonic() - reply.started
        if reply.is_complete():
            reply.ended = "complete"
            return
        if leave_after is not None and reply.received >= leave_after:
            reply.ended = "left"
            return
