"""Access without permission: keys, the admin API, environment variables, and ambiguous requests (topics 6 and 10)."""

import asyncio
import functools

import client
from attacks import UnexpectedResult, attack, expect

CHAT = "/v1/chat/completions"


@attack("keys")
async def an_invalid_key(context):
    key = context.random.choice([context.revoked, "sk-" + "a" * 48, "x", "\u00e4" * 20, "k" * 30_000, "null", context.keys["mallory"][:-1], context.keys["mallory"].upper()])
    expect(await context.raw(client.request("POST", CHAT, key, context.chat())), 400, 401)
    name = context.random.choice(["x-api-key", "x-goog-api-key", "mj-api-secret"])
    expect(await context.raw(client.request("POST", CHAT, None, context.chat(), [f"{name}: {key}"])), 400, 401)


@attack("keys")
async def no_key(context):
    path = context.random.choice([CHAT, "/v1/models", "/v1/messages", "/user/balance", "/metrics", "/admin/keys", "/v1/videos/x", "/suno/fetch/x"])
    forwarded = context.random.choice([[], ["x-forwarded-for: 127.0.0.1"], ["forwarded: for=127.0.0.1"], ["via: 1.1 proxy"]])
    expect(await context.raw(client.request(context.random.choice(["GET", "POST"]), path, None, b"", forwarded)), 401, 403, 405)


@attack("keys")
async def a_key_that_is_revoked_while_it_is_used(context):
    """Routes and keys change under load; a key is valid until it is revoked."""
    made = expect(await context.raw(client.request("POST", "/admin/keys", context.admin, {"name": f"guest {context.random.randrange(1 << 40)}", "budget": "1"})), 201).json()
    expect(await context.post(CHAT, context.chat(), made["key"]), 200, 429, 502, 503)
    expect(await context.raw(client.request("DELETE", f"/admin/keys/{made['id']}", context.admin)), 2)
    expect(await context.post(CHAT, context.chat(), made["key"]), 401)
    expect(await context.raw(client.request("POST", "/admin/reload", context.admin)), 2)


@attack("keys")
async def the_admin_api_with_a_key_of_a_caller(context):
    calls = [("GET", "/metrics"), ("PUT", "/admin/providers/x"), ("POST", "/admin/keys"), ("POST", "/admin/reload"), ("DELETE", "/admin/keys/x"), ("GET", "/admin/config")]
    method, path = context.random.choice(calls)
    expect(await context.raw(client.request(method, path, context.key, b"{}")), 401, 403, *([404] if method == "DELETE" else []))


@attack("keys")
async def the_keys_of_others_with_a_key_of_a_caller(context):
    """A key sees itself, its usage and its records, and nothing of others."""
    path = context.random.choice(["/admin/keys", "/admin/usage?by=key", "/admin/records"])
    own = context.random.choice(["mallory", "mordred"])
    reply = await context.raw(client.request("GET", path, context.keys[own]))
    expect(reply, 200)
    seen = [name for name in {*context.keys, "revoked"} - {own} if f'"{name}"'.encode() in reply.body]
    if seen:
        raise UnexpectedResult(f"{path} shows {seen}")


@attack("keys")
async def the_admin_api_by_another_name(context):
    """From another host only the token gives access."""
    for key in (context.key, None):
        payload = client.request("GET", "/admin/keys", key, headers=["origin: https://evil.example"])
        expect(await context.raw(payload.replace(b"host: localhost", b"host: evil.example")), 401, 403)


def provider(port, **more):
    return {"base_url": f"http://127.0.0.1:{port}/openai/v1", "dialect": "openai", "private": True, "models": ["plain"], **more}


@attack("6")
async def a_variable_of_the_environment(context):
    """The admin token does not allow to send an environment variable to another address."""
    name, settings = context.random.choice(
        [
            ("exfiltration", {"key_env": "AWS_SECRET_ACCESS_KEY"}),
            ("openai", {"key_env": "OPENAI_API_KEY"}),
            ("openai", {}),
            ("exfiltration", {"row": "openai"}),
            ("exfiltration", {"key_env": "CACHALOT_ADMIN_TOKEN"}),
            ("exfiltration", {"key_env": "HTTPS_PROXY"}),
        ]
    )
    reply = await context.raw(client.request("PUT", f"/admin/providers/{name}", context.admin, provider(context.hostile_port, **settings)))
    if reply.status // 100 == 2:
        reply = await context.post(CHAT, context.chat(model=f"{name}/plain"))
        await context.raw(client.request("DELETE", f"/admin/providers/{name}", context.admin))
        # A built-in provider may have another address, without its key.
        if settings.get("key_env"):
            raise UnexpectedResult(f"{settings} was allowed for an address of the attacker; a request with it: {reply.status}")
    else:
        expect(reply, 400)


@attack("6")
async def an_address_behind_a_provider(context):
    """A stored provider is validated again when its address changes."""
    first = {**provider(context.hostile_port), "base_url": "https://api.openai.com/v1", "private": False, "key_env": "OPENAI_API_KEY"}
    reply = await context.raw(client.request("PUT", "/admin/providers/second", context.admin, {**first, "row": "openai"}))
    changed = await context.raw(client.request("PUT", "/admin/providers/second", context.admin, provider(context.hostile_port, key_env="OPENAI_API_KEY")))
    await context.raw(client.request("DELETE", "/admin/providers/second", context.admin))
    if changed.status // 100 == 2:
        raise UnexpectedResult(f"the variable was sent to another address: {reply.status}, then {changed.status}")


@attack("6")
async def addresses_that_lead_home(context):
    url = context.random.choice(["http://169.254.169.254/latest", "http://127.0.0.1:1/v1", "http://[::1]/v1", "http://0x7f.1/v1", "file:///etc/passwd", "http://u:p@example.org/", "http://[::ffff:127.0.0.1]/v1"])
    reply = await context.raw(client.request("PUT", "/admin/providers/home", context.admin, {"base_url": url, "dialect": "openai", "models": ["plain"]}))
    if reply.status // 100 == 2:
        await context.raw(client.request("DELETE", "/admin/providers/home", context.admin))
        raise UnexpectedResult(f"{url} was accepted without `private`")
    expect(reply, 400)


@attack("10")
async def odd_names(context):
    name = context.random.choice(["", "x" * 65, "x" * 100_000, "a\u202eb", "a\u0000b", "a\nb", "\u2066x\u2069", "a\u0085b"])
    kind, body = context.random.choice([("keys", {"name": name}), ("projects", {"name": name}), ("users", {"name": name, "role": "viewer"})])
    expect(await context.raw(client.request("POST", f"/admin/{kind}", context.admin, body)), 4)


@attack("10")
async def admin_bodies_of_odd_types(context):
    method, path = context.random.choice([("POST", "/admin/keys"), ("POST", "/admin/projects"), ("PUT", "/admin/prices/x:y"), ("PUT", "/admin/aliases/x"), ("PUT", "/admin/providers/x")])
    body = context.random.choice([b"", b"[]", b"null", b"{", b"[" * 100_000, b'{"name":{"a":[]},"budget":1e308,"model":7,"base_url":[]}', b'{"budget":"99999999999999999999","name":"n"}'])
    expect(await context.raw(client.request(method, path, context.admin, body)), 4)


# Ambiguous requests.


def get(*lines, path="/healthz"):
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "connection: close", "", ""]).encode()


def post(context, *lines, body=b"{}"):
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", "content-type: application/json", f"authorization: Bearer {context.key}", *lines, "", ""]).encode() + body


@attack("10")
async def two_hosts(context):
    path = context.random.choice(["/v1/models", "/api/models", "/healthz"])
    hosts = context.random.choice([["host: localhost", "host: localhost"], ["host: localhost", "host: evil.example"], ["Host: evil.example", "host: localhost"]])
    payload = get(*hosts, f"authorization: Bearer {context.key}", path=path)
    expect(await context.raw(payload), 400)


@attack("10")
async def two_lengths(context):
    smuggled = b"GET /admin/keys HTTP/1.1\r\nhost: localhost\r\n\r\n"
    lines = context.random.choice(
        [
            ["host: localhost", "content-length: 2", "transfer-encoding: chunked"],
            ["host: localhost", "content-length: 2", "content-length: 3"],
            ["host: localhost", "content-length: +2"],
            ["host: localhost", "content-length: -1"],
            ["host: localhost", "content-length: 0x2"],
            ["host: localhost", "content-length: 99999999999999999999"],
            ["host: localhost", "transfer-encoding: chunked, identity"],
            ["host: localhost", "transfer-encoding: xchunked"],
            ["host: localhost", "content-length : 2"],
            ["host: localhost", "x: y", " content-length: 2"],
        ]
    )
    reply = await context.raw(post(context, *lines, body=b"{}" + smuggled), timeout=10)
    # The smuggled request must not be answered.
    if reply.status not in (0, 400, 413, 501) or b'"keys"' in reply.bytes or reply.bytes.count(b"HTTP/1.1 ") > 1:
        raise UnexpectedResult(f"{lines}: {reply}")


@attack("10")
async def chunks_of_odd_sizes(context):
    size = context.random.choice([b"FFFFFFFFFFFFFFFFF", b"-1", b"0x2", b"2 2", b"", b"g", b"2;" + b"x" * 100_000, b"80000000000000000"])
    reply = await context.raw(post(context, "host: localhost", "transfer-encoding: chunked", "connection: close", body=size + b"\r\n{}\r\n0\r\n\r\n"), timeout=10)
    if reply.status not in (0, 400, 413, 431, 422):
        raise UnexpectedResult(f"{size[:20]!r}: {reply}")


@attack("10")
async def odd_methods_and_long_paths(context):
    method = context.random.choice(["GET", "TRACE", "CONNECT", "get", "X" * 8000, "PROPFIND", "PRI"])
    path = context.random.choice(["/" + "a" * 60_000, "/%ff%fe", "/v1/../admin/keys", "//v1//models", "/\u00e4", "/healthz%00", "*", "http://evil.example/v1/models", "/v1/models/" + "%2e%2e/" * 1000, "/\x1b[31m"])
    reply = await context.raw(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode("utf-8"), timeout=10)
    if reply.status not in (0, 200) and reply.status // 100 != 4:
        raise UnexpectedResult(f"{method[:20]} {path[:40]!r}: {reply}")


@attack("10")
async def large_headers(context):
    size = context.random.choice([60_000, 120_000, 400_000, 4_000_000])
    lines = context.random.choice([[f"x-large: {'x' * size}"], [f"x-{n}: y" for n in range(size // 10)], [f"cookie: {'a=b; ' * (size // 6)}"]])
    reply = await context.raw(get("host: localhost", *lines), timeout=10)
    if reply.status not in (0, 200, 400, 431):
        raise UnexpectedResult(str(reply))


@attack("10")
async def headers_that_are_not_text(context):
    value = context.random.choice([b"\xff\xfe", b"\x00", b"a\x0bb", b"a\rb", b"\xe2\x80\xae", b"x" * 10 + b"\x7f"])
    name = context.random.choice([b"x-request-id", b"traceparent", b"content-type", b"authorization", b"origin", b"accept"])
    reply = await context.raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n" + name + b": " + value + b"\r\n\r\n{}", timeout=10)
    expect(reply, 4)


@attack("10")
async def pipelining(context):
    """Pipelined requests are answered in order."""
    many = 100
    one = client.request("GET", "/v1/models", context.key).replace(b"connection: close\r\n", b"")
    reply = await client.send(context.port, one * many + client.request("GET", "/healthz"), timeout=20, keep=1 << 24)
    if reply.bytes.count(b"HTTP/1.1 200") > many + 1:
        raise UnexpectedResult(f"{many + 1} requests had {reply.bytes.count(b'HTTP/1.1 200')} answers")


@attack("10")
async def old_and_other_protocols(context):
    words = context.random.choice([b"GET /healthz\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, b"SSH-2.0-x\r\n", b"\r\n" * 2000 + b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", b"GET /healthz HTTP/9.9\r\n\r\n", b"\0" * 4096])
    reply = await context.raw(words, timeout=10, leave_after=1 << 20)
    if reply.status not in (0, 200, 400):
        raise UnexpectedResult(str(reply))


@attack("10")
async def a_continuation_that_is_waited_for(context):
    payload = client.request("POST", CHAT, context.key, context.chat(), ["expect: 100-continue"])
    reply = await context.raw(payload)
    if b"HTTP/1.1 200" not in reply.bytes:
        raise UnexpectedResult(str(reply))


@attack("10")
async def models_by_another_name(context):
    """Without keys, the catalogue is protected by the check of `Host` and `Origin`; with keys it is public."""
    payload = client.request("GET", "/api/models").replace(b"host: localhost", b"host: evil.example")
    expect(await context.raw(payload), 200, 400, 403)


# HTTP/2, by hand.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name, value):
    """A literal header field without indexing (RFC 7541, 6.2.2)."""

    def text(words):
        words = words if isinstance(words, bytes) else words.encode()
        length = bytes([len(words)]) if len(words) < 127 else bytes([127]) + leb(len(words) - 127)
        return length + words

    return b"\0" + text(name) + text(value)


def leb(number):
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes(out + bytes([number]))


@functools.cache
def head(method, path, authority, *more):
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *more]
    return b"".join(literal(name, value) for name, value in fields)


SETTINGS, ACKNOWLEDGED = frame(4, 0, 0), frame(4, 1, 0)
END_HEADERS, END_STREAM = 4, 1


async def exchange_frames(context, payload, seconds, most=1 << 20):
    """Sends frames and returns the bytes received within some seconds."""
    return (await client.send(context.port, payload, timeout=seconds, pace=context.throttle, keep=most)).bytes


@attack("10")
async def rapid_resets(context):
    """Requests that are reset at once."""
    ask = head("POST", CHAT, "localhost", ("authorization", f"Bearer {context.key}"), ("content-type", "application/json"))
    payload = PREFACE + SETTINGS
    for stream in range(1, 2001, 2):
        payload += frame(1, END_HEADERS, stream, ask) + frame(3, 0, stream, b"\0\0\0\x08")
    await exchange_frames(context, payload, 3)


@attack("10")
async def continuations_without_end(context):
    payload = PREFACE + SETTINGS + frame(1, 0, 1, head("GET", "/healthz", "localhost"))
    payload += frame(9, 0, 1, literal("x-more", "y" * 4000)) * 500
    await exchange_frames(context, payload, 3)


@attack("10")
async def pings_and_settings(context):
    payload = PREFACE + SETTINGS + (frame(6, 0, 0, b"12345678") + SETTINGS) * 5000
    await exchange_frames(context, payload, 3, most=4096)


@attack("10", lasts=True)
async def a_window_that_never_opens(context):
    """Responses that the window does not allow to send."""
    ask = head("GET", "/v1/models", "localhost", ("authorization", f"Bearer {context.key}"))
    payload = PREFACE + frame(4, 0, 0, b"\0\x04\0\0\0\0") + b"".join(frame(1, END_HEADERS | END_STREAM, stream, ask) for stream in range(1, 200, 2))
    await exchange_frames(context, payload, 20)


@attack("10")
async def an_authority_unlike_the_host(context):
    ask = head("GET", "/v1/models", "localhost", ("host", "evil.example"), ("authorization", f"Bearer {context.key}"))
    received = await exchange_frames(context, PREFACE + SETTINGS + ACKNOWLEDGED + frame(1, END_HEADERS | END_STREAM, 1, ask), 2)
    if b'"data"' in received:
        raise UnexpectedResult(f"it was answered: {bytes(received[-200:])!r}")


@attack("10", lasts=True)
async def many_streams_of_one_connection(context):
    ask = head("POST", CHAT, "localhost", ("authorization", f"Bearer {context.key}"), ("content-type", "application/json"))
    payload = PREFACE + SETTINGS + b"".join(frame(1, END_HEADERS, stream, ask) for stream in range(1, 400, 2))
    await asyncio.gather(*(exchange_frames(context, payload, 10) for _ in range(3)))
