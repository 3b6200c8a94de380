"""An HTTP/1.1 client of the long tests that sends whatever it is given, and notes what came and when. Standard library only."""

import asyncio
import json
import re
import time

# Connections are refused or reset while a server is killed or ends an abused one.
BROKEN = (OSError, asyncio.IncompleteReadError)
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})")


class Reply:
    """What came on a connection: its bytes up to a bound, and when."""

    def __init__(self):
        self.began = time.monotonic()
        self.bytes, self.received, self.first, self.total = bytearray(), 0, None, None
        self.ended = "open"  # "whole", "closed" early, "reset", "late", "left" by ourselves

    @property
    def status(self):
        """0 when nothing that is an answer came."""
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
        """Decoded, as far as it was kept."""
        head, _, rest = self.bytes.partition(b"\r\n\r\n")
        if not re.search(rb"transfer-encoding: *chunked", head, re.I):
            return bytes(rest)
        whole, place = bytearray(), 0
        while True:
            line = rest.find(b"\r\n", place)
            size = re.match(rb"[0-9a-fA-F]+", rest[place:line]) if line >= 0 else None
            size = int(size.group(), 16) if size else 0  # What was not kept cannot be read.
            if size == 0:
                return bytes(whole)
            whole += rest[line + 2 : line + 2 + size]
            place = line + 2 + size + 2

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def is_whole(self):
        """The message has come to its end, by its own framing."""
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
        said = self.body[-300:].decode("utf-8", "replace")
        return f"{self.status or 'no answer'}, {self.ended} after {self.total or 0:.1f} s, {self.received} bytes: {said!r}"


def request(method, path, key=None, body=b"", headers=(), kind="application/json"):
    """The bytes of a request. `body` is bytes, or what is to be JSON."""
    if not isinstance(body, (bytes, bytearray)):
        body = json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "connection: close", *headers]
    if key:
        lines.append(f"authorization: Bearer {key}")
    if body or method == "POST":
        lines += [f"content-type: {kind}", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + bytes(body)


async def send(port, payload, *, keep=1 << 20, patience=60, leave_after=None, pace=None):
    """Sends bytes, or pieces of them from an iterable, and reads the answer until it ends, whatever comes first.

    At most `keep` bytes of the answer are kept. The client leaves after `leave_after` bytes, and gives up after `patience`
    seconds. `pace(n)` is awaited before n bytes are sent."""
    reply = Reply()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, limit=1 << 17), patience)
    except BROKEN + (asyncio.TimeoutError,):
        reply.ended, reply.total = "refused", time.monotonic() - reply.began
        return reply
    sending = asyncio.create_task(_write(writer, payload, pace))
    try:
        await asyncio.wait_for(_read(reader, reply, keep, leave_after), patience)
    except asyncio.TimeoutError:
        reply.ended = "late"
    except BROKEN:
        reply.ended = "reset"
    finally:
        sending.cancel()
        writer.close()
    reply.total = time.monotonic() - reply.began
    return reply


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
        pass  # The reader tells.


async def _read(reader, reply, keep, leave_after):
    while True:
        more = await reader.read(1 << 16)
        if not more:
            reply.ended = "whole" if reply.bytes and (reply.is_whole() or b"-length" not in reply.head.lower() and b"chunked" not in reply.head) else "closed"
            return
        reply.received += len(more)
        if len(reply.bytes) < keep:
            reply.bytes += more
        else:
            # Its end tells whether it is whole.
            reply.bytes[-64:] = (reply.bytes[-64:] + more)[-64:]
        if reply.first is None and b"\r\n\r\n" in reply.bytes and not reply.bytes.endswith(b"\r\n\r\n"):
            reply.first = time.monotonic() - reply.began
        if reply.is_whole():
            reply.ended = "whole"
            return
        if leave_after is not None and reply.received >= leave_after:
            reply.ended = "left"
            return
