"""Attacks by a provider: absurd counts, endless responses, responses that disclose secrets, and silence (topics 1, 4, 9, 10)."""

import client
from attacks import TIMEOUT, UnexpectedResult, attack, expect, is_error
from attacks.hostile_provider import ABSURD, FIELDS

DIALECTS = ("deepseek", "openai", "anthropic", "gemini")


def provider_request(context, behaviour, text="hello", stream=None, dialect=None, converted=None):
    """Path and body of a request with a behaviour of the hostile provider, forwarded or converted from another API."""
    stream = context.random.random() < 0.5 if stream is None else stream
    dialect = dialect or context.random.choice(DIALECTS)
    converted = context.random.random() < 0.5 if converted is None else converted
    model, own = f"hostile-{dialect}/{behaviour}", {"anthropic": "messages", "gemini": "contents"}.get(dialect, "chat")
    surface = context.random.choice([name for name in ("chat", "messages", "contents", "responses") if name != own]) if converted else own
    if surface == "contents":
        call = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{call}", {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 64}}
    if surface == "responses":
        return "/v1/responses", {"model": model, "max_output_tokens": 64, "stream": stream, "input": text}
    return ("/v1/messages" if surface == "messages" else "/v1/chat/completions"), context.chat(text, model, stream=stream)


# Topic 1: absurd counts.


@attack("1")
async def absurd_usage(context):
    value, field = context.random.choice(list(ABSURD)), context.random.choice(FIELDS)
    path, body = provider_request(context, "usage", f"use:{field}:{value}")
    expect(await context.post(path, body), 200, 429, 502, 503)


@attack("1")
async def many_absurd_usages(context):
    for value in context.random.sample(list(ABSURD), 6):
        path, body = provider_request(context, "usage", f"use:{context.random.choice(['prompt', 'completion', 'all'])}:{value}")
        expect(await context.post(path, body), 200, 429, 502, 503)


@attack("1")
async def an_absurd_max_tokens(context):
    path, body = provider_request(context, "plain", converted=False, dialect=context.random.choice(["deepseek", "openai", "anthropic"]))
    most = context.random.choice([2**63, 2**63 - 1, 2**64, -1, 0, 1e308, 2**31, "9", 1.5])
    expect(await context.post(path, {**body, "max_tokens": most}), 200, 4)


# Topic 4: endless responses.

ENDLESS = ("line", "event", "headers", "header", "trailers", "extension", "refusal")


@attack("4", lasts=True, every=4)
async def an_endless_answer(context):
    behaviour = context.random.choice(ENDLESS)
    path, body = provider_request(context, f"endless-{behaviour}", stream=True)
    # A forwarded response may have started before the gateway finds it endless.
    reply = await context.post(path, body, timeout=90, keep=1 << 16)
    if reply.ended == "complete" and reply.status == 200 and b"rror" not in reply.body and behaviour in ("line", "event", "header", "headers"):
        raise UnexpectedResult(f"{behaviour}: an endless response ended normally: {reply}")


@attack("4", lasts=True, every=30)
async def an_endless_whole_answer(context):
    path, body = provider_request(context, context.random.choice(["endless-whole", "endless-space"]), stream=False)
    is_error(await context.post(path, body, timeout=120, keep=1 << 16))


@attack("4", lasts=True, every=15)
async def endless_comments(context):
    """Comments are harmless while the client reads them."""
    path, body = provider_request(context, "endless-comments", stream=True)
    await client.send(context.port, client.request("POST", path, context.key, body), timeout=8, keep=1 << 16)


@attack("4", lasts=True, every=15)
async def more_after_the_end(context):
    path, body = provider_request(context, "more-after-end", stream=True, dialect=context.random.choice(["deepseek", "openai"]))
    expect(await context.post(path, body, timeout=90, keep=1 << 16), 200, 429, 502, 503)


@attack("4", lasts=True, every=10)
async def a_bomb_from_a_provider(context):
    path, body = provider_request(context, "gzip-bomb")
    is_error(await context.post(path, body, timeout=60))


@attack("4")
async def deep_or_many(context):
    path, body = provider_request(context, context.random.choice(["deep", "choices", "broken-text"]))
    expect(await context.post(path, body), 200, 429, 502, 503)


# Topic 9: secrets in responses, and responses of other types.


@attack("9")
async def a_refusal_that_quotes_its_request(context):
    status = context.random.choice([400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 529])
    path, body = provider_request(context, "echo", f"status:{status}")
    expect(await context.post(path, body), 200, 4, 5)


@attack("9")
async def an_event_that_quotes_its_request(context):
    path, body = provider_request(context, "echo-in-event", stream=True)
    expect(await context.post(path, body), 200, 4, 5)


@attack("9")
async def an_answer_that_quotes_its_request(context):
    path, body = provider_request(context, "echo-in-answer")
    expect(await context.post(path, body), 200, 4, 5)


@attack("9")
async def a_200_that_is_no_answer(context):
    path, body = provider_request(context, context.random.choice(["html", "html-as-json", "empty", "text"]))
    is_error(await context.post(path, body, timeout=60))


@attack("9")
async def a_200_of_another_kind(context):
    path, body = provider_request(context, context.random.choice(["odd", "gzip"]))
    expect(await context.post(path, body, timeout=60), 200, 429, 502, 503)


@attack("9")
async def statuses_that_mean_nothing(context):
    path, body = provider_request(context, "status")
    reply = await context.post(path, body, timeout=60)
    if reply.status in (401, 407) or reply.status // 100 in (1, 3):
        raise UnexpectedResult(f"an internal status of the provider was forwarded: {reply}")


# Silent and broken responses.


@attack("10", lasts=True, every=20)
async def a_provider_that_never_answers(context):
    """The request ends after the documented 60 s."""
    path, body = provider_request(context, context.random.choice(["never", "slow-head"]))
    reply = is_error(await context.post(path, body, timeout=85))
    if reply.total > 75:
        raise UnexpectedResult(f"over 60 s: {reply}")


@attack("10", lasts=True, every=20)
async def informational_answers_without_end(context):
    path, body = provider_request(context, "informational")
    reply = is_error(await context.post(path, body, timeout=85))
    if reply.total > 75:
        raise UnexpectedResult(f"over 60 s: {reply}")


@attack("10", lasts=True)
async def a_stream_that_falls_silent(context):
    path, body = provider_request(context, "silent", stream=True)
    await client.send(context.port, client.request("POST", path, context.key, body), timeout=TIMEOUT)


@attack("4")
async def an_answer_that_breaks_off(context):
    path, body = provider_request(context, context.random.choice(["broken-head", "broken-middle", "no-end"]), stream=context.random.random() < 0.7)
    reply = await context.post(path, body)
    if body.get("stream") or "stream" in path:
        is_error(reply)
