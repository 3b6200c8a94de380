"""Bodies that need more memory than their size suggests, and connections that are held open (topic 3)."""

import asyncio
import functools
import gzip
import json
import zlib

import client
from attacks import UnexpectedResult, attack, expect
from attacks.parsers import surfaces

MIB = 1 << 20
ANY = (2, 4, 503, 529)
HELD = 20  # seconds


def gzip_of(*parts, level=9):
    """gzip of parts, each of them (bytes, repetitions)."""
    pack, out = zlib.compressobj(level, zlib.DEFLATED, 31), bytearray()
    for piece, count in parts:
        block = piece * max(1, min(count, MIB // len(piece)))
        whole, rest = divmod(len(piece) * count, len(block))
        for _ in range(whole):
            out += pack.compress(block)
        out += pack.compress(block[:rest])
    return bytes(out + pack.flush())


@functools.cache
def small_objects(objects):
    """A few kilobytes that are hundreds of thousands of small objects."""
    head = b'{"model":"hostile-deepseek/plain","max_tokens":4,"messages":[{"role":"user","content":"x"}],"metadata":['
    return gzip_of((head, 1), (b"{},", objects), (b"{}]}", 1))


@functools.cache
def long_prompt(model, piece, size):
    head = json.dumps({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "@"}]}).encode()
    before, after = head.split(b"@")
    return gzip_of((before, 1), (piece, size // len(piece)), (after, 1))


async def post_gzip(context, path, body, *statuses, **more):
    return expect(await context.post(path, body, headers=["content-encoding: gzip"], **more), *statuses)


@attack("3")
async def small_objects_in_gzip(context):
    path = context.random.choice(["/v1/chat/completions", "/v1/messages", "/v1/responses", "/chat/completions"])
    await post_gzip(context, path, small_objects(490_000), *ANY)


@attack("3", every=5)
async def eight_at_once_of_small_objects(context):
    body = small_objects(490_000)
    await asyncio.gather(*(post_gzip(context, "/v1/messages", body, *ANY) for _ in range(8)))


@attack("3", every=5)
async def more_objects_than_fit(context):
    await post_gzip(context, "/v1/chat/completions", small_objects(9_000_000), *ANY)


@attack("3", every=5)
async def a_bomb(context):
    await post_gzip(context, "/v1/chat/completions", long_prompt("hostile-deepseek/plain", b"x", 1 << 30), 4, 503)


@attack("3", every=5)
async def a_long_prompt_in_gzip(context):
    piece = context.random.choice([b"7", b"word ", b" ", "\u6587".encode()])
    await post_gzip(context, "/chat/completions", long_prompt("deepseek-chat", piece, 30 * MIB), 4, 503)


@attack("3", every=5)
async def a_long_prompt_of_digits(context):
    """The prompt is refused for its length, before it is tokenized."""
    body = {"model": "deepseek-chat", "max_tokens": 4, "messages": [{"role": "user", "content": "7" * context.random.choice([1 << 20, 4 << 20, 30_000_000])}]}
    path = context.random.choice(["/chat/completions", "/v1/messages", "/v1/messages/count_tokens"])
    reply = expect(await context.post(path, body), 2, 4, 503)
    if reply.status == 200 and "count_tokens" not in path:
        raise UnexpectedResult(f"accepted millions of digits: {reply}")


@attack("3")
async def invalid_gzip(context):
    good = gzip.compress(json.dumps(surfaces()[1][1]).encode())
    body = context.random.choice([b"", b"\x1f\x8b", good[:-5], good * 2000, b"x" * 10_000, good[:20] + b"\0" * 1000])
    # An empty body and several gzip members may be valid.
    await post_gzip(context, "/v1/chat/completions", body, *ANY)


@attack("3")
async def more_than_the_limit(context):
    head = client.request("POST", context.random.choice(surfaces())[0], context.key, b"")
    sent = context.random.choice([b"", b"{" * MIB])
    length = context.random.choice([200 * MIB, 2**40, 2**63 - 1, 2**64 - 1])
    reply = await context.raw(head.replace(b"content-length: 0", b"content-length: %d" % length) + sent, keep=MIB)
    # The HTTP library refuses the largest length itself and closes the connection; with unread bytes that is a reset.
    if not (length == 2**64 - 1 and sent and reply.ended == "reset"):
        expect(reply, 4)


def truncated_request(context, size, declared=30_000_000, key=None, path="/v1/chat/completions"):
    """A request whose body ends early."""
    body = b'{"model":"hostile-deepseek/plain","messages":[{"role":"user","content":"' + b"x" * size
    head = client.request("POST", path, key or context.key, b"")
    return head.replace(b"content-length: 0", b"content-length: %d" % declared) + body


async def hold(context, payload, seconds=HELD):
    """Keeps a connection open after a part of a request. The response of the time limit may arrive meanwhile."""
    reply = await client.send(context.port, payload, timeout=seconds, pace=context.throttle)
    if reply.status not in (0, 400, 401, 402, 403, 404, 408, 413, 429, 431, 503, 529):
        raise UnexpectedResult(str(reply))
    if any(secret in reply.bytes for secret in context.secrets):
        raise UnexpectedResult(f"a secret was disclosed: {reply}")


@attack("3", lasts=True)
async def half_sent_bodies(context):
    await asyncio.gather(*(hold(context, truncated_request(context, 4 * MIB)) for _ in range(6)))


@attack("3", lasts=True, every=60)
async def half_sent_bodies_of_all_keys(context):
    """The largest in-flight bytes of all attackers' keys, which must leave room for others."""
    keys = list(context.keys.values())
    await asyncio.gather(*(hold(context, truncated_request(context, 20 * MIB, key=keys[n % 4])) for n in range(16)))


@attack("3", lasts=True)
async def declared_and_never_sent(context):
    await asyncio.gather(*(hold(context, truncated_request(context, 0)) for _ in range(40)))


@attack("3", lasts=True)
async def a_body_in_drops(context):
    async def drops():
        reader, writer = await asyncio.open_connection("127.0.0.1", context.port)
        try:
            writer.write(truncated_request(context, 1000))
            for _ in range(HELD * 2):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.5)
        except OSError:
            pass  # The server closed the connection.
        finally:
            writer.close()

    await asyncio.gather(*(drops() for _ in range(10)))


@attack("3", lasts=True)
async def chunks_without_end(context):
    head = client.request("POST", "/v1/chat/completions", context.key, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")

    def pieces():
        yield head + b'1\r\n{\r\n'
        for _ in range(140):
            yield b"40000\r\n" + b" " * 0x40000 + b"\r\n"

    expect(await context.raw(pieces(), timeout=60), 4, 503)


@attack("3", lasts=True)
async def slow_readers(context):
    async def reads_slowly():
        reader, writer = await asyncio.open_connection("127.0.0.1", context.port, limit=4096)
        model = context.random.choice(["hostile-deepseek/flood", "hostile-gemini/flood"])
        try:
            writer.write(client.request("POST", "/v1/chat/completions", context.key, context.chat(model=model, stream=True)))
            for _ in range(HELD * 5):
                await reader.read(1024)
                await asyncio.sleep(0.2)
        except OSError:
            pass  # The server closed the connection.
        finally:
            writer.close()

    await asyncio.gather(*(reads_slowly() for _ in range(8)))


@attack("3")
async def hang_ups(context):
    async def leaves():
        stream = context.random.random() < 0.7
        path, body = context.random.choice(surfaces()[:8])
        if "contents" not in body:
            body = {**body, "stream": stream}
        await client.send(context.port, client.request("POST", path, context.key, body), leave_after=context.random.choice([0, 1, 200]), timeout=context.random.choice([0.01, 0.05, 5]))

    await asyncio.gather(*(leaves() for _ in range(20)))


@attack("3", lasts=True)
async def a_flood_of_connections(context):
    """Some send nothing, some a part of a header."""

    async def holds(words):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", context.port)
        except OSError:
            return
        writer.write(words)
        await asyncio.sleep(HELD)
        writer.close()

    beginnings = [b"", b"G", b"GET / HTTP/1.1\r\nhost: localhost\r\nx-more: ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    await asyncio.gather(*(holds(context.random.choice(beginnings)) for _ in range(200)))


@attack("3")
async def connections_that_come_and_go(context):
    async def touch():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", context.port)
            writer.transport.abort()
        except OSError:
            pass

    for _ in range(5):
        await asyncio.gather(*(touch() for _ in range(20)))
