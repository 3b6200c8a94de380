"""Input that is expensive to parse (topic 2). Each request is answered or refused in time, without an internal error."""

import asyncio
import functools
import json

import client
from attacks import Context, attack, expect

# The allowed statuses: accepted, refused, or overloaded.
ANY = (2, 4, 503)
MANY = 100_000


def surfaces(text="hello"):
    """Path and body of a small request of each API: to the local model, forwarded, converted."""
    chat = {"max_tokens": 4, "messages": [{"role": "user", "content": text}]}
    contents = {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 4}}
    return [
        ("/chat/completions", {"model": "deepseek-chat", **chat}),
        ("/v1/chat/completions", {"model": "hostile-deepseek/plain", **chat}),
        ("/v1/chat/completions", {"model": "hostile-anthropic/plain", **chat}),
        ("/v1/messages", {"model": "hostile-anthropic/plain", **chat}),
        ("/anthropic/v1/messages", {"model": "deepseek-chat", **chat}),
        ("/v1beta/models/hostile-gemini/plain:generateContent", contents),
        ("/v1beta/models/hostile-deepseek/plain:generateContent", contents),
        ("/v1/responses", {"model": "hostile-openai/plain", "max_output_tokens": 16, "input": text}),
        ("/v1/completions", {"model": "hostile-deepseek/plain", "prompt": text, "max_tokens": 4}),
        ("/v1/embeddings", {"model": "hostile-openai/plain", "input": text}),
        ("/v1/images/generations", {"model": "hostile-openai/plain", "prompt": text}),
        ("/v1/audio/speech", {"model": "hostile-openai/plain", "input": text, "voice": "low"}),
        ("/v1/videos", {"model": "hostile-openai/plain", "prompt": text}),
        ("/suno/submit/music", {"prompt": text}),
        ("/mj/submit/imagine", {"prompt": text}),
    ]


def with_members(body, members, last):
    """A body with more members, before or after its own."""
    text = json.dumps(body)
    return (f"{text[:-1]},{members}}}" if last else f"{{{members},{text[1:]}").encode()


async def to_any_surface(context: Context, members, *statuses):
    path, body = context.random.choice(surfaces())
    expect(await context.post(path, with_members(body, members, context.random.random() < 0.5)), *statuses)


@functools.cache
def object_with_keys(count, same=False, escaped=False):
    name = (lambda n: "same") if same else (lambda n: f"\\u006b{n}") if escaped else (lambda n: f"k{n}")
    return ",".join(f'"{name(n)}":{n}' for n in range(count))


@attack("2")
async def a_hundred_thousand_keys(context):
    await to_any_surface(context, object_with_keys(MANY), *ANY)


@attack("2")
async def two_at_once_of_a_hundred_thousand_keys(context):
    await asyncio.gather(*(to_any_surface(context, object_with_keys(MANY), *ANY) for _ in range(2)))


@attack("2")
async def escaped_keys(context):
    await to_any_surface(context, object_with_keys(MANY, escaped=True), *ANY)


@attack("2")
async def the_same_key_again_and_again(context):
    await to_any_surface(context, object_with_keys(MANY, same=True), *ANY)


@attack("2")
async def keys_below(context):
    await to_any_surface(context, f'"metadata":{{{object_with_keys(MANY)}}}', *ANY)


@attack("2")
async def deep_nesting(context):
    depth = context.random.choice([200, 10_000, 1_000_000])
    opening, closing = context.random.choice([("[", "]"), ('{"a":', "}")])
    await to_any_surface(context, f'"metadata":{opening * depth}1{closing * depth}', *ANY)


@attack("2")
async def nesting_without_an_end(context):
    path, _ = context.random.choice(surfaces())
    expect(await context.post(path, b'{"model":' + b"[" * 2_000_000), 4, 503)


@attack("2")
async def many_messages(context):
    path, body = context.random.choice(surfaces()[:5])
    message = context.random.choice(
        [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "x"}] * 8}, {"role": "system", "content": ""}]
    )
    expect(await context.post(path, {**body, "messages": [message] * 50_000}), *ANY)


@attack("2")
async def many_tools(context):
    tools = [{"type": "function", "function": {"name": f"f{n}", "description": "x", "parameters": {"type": "object", "properties": {}}}} for n in range(20_000)]
    path, body = context.random.choice(surfaces()[:3])
    expect(await context.post(path, {**body, "tools": tools}), *ANY)


@attack("2")
async def many_calls_and_their_results(context):
    count = 10_000
    calls = [{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(count)]
    results = [{"role": "tool", "tool_call_id": f"call_{count - 1 - n}", "content": "x"} for n in range(count)]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    path, body = context.random.choice(surfaces()[:3])
    expect(await context.post(path, {**body, "messages": messages}), *ANY)


@attack("2")
async def many_tool_blocks(context):
    count = 10_000
    uses = [{"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}} for n in range(count)]
    results = [{"type": "tool_result", "tool_use_id": f"t{count - 1 - n}", "content": "x"} for n in range(count)]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    model = context.random.choice(["hostile-deepseek/plain", "hostile-anthropic/plain", "deepseek-chat"])
    expect(await context.post("/v1/messages", {"model": model, "max_tokens": 4, "messages": messages}), *ANY)


@attack("2")
async def many_function_calls_of_gemini(context):
    count = 10_000
    calls = [{"functionCall": {"name": f"f{n}", "args": {}}} for n in range(count)]
    answers = [{"functionResponse": {"name": f"f{count - 1 - n}", "response": {}}} for n in range(count)]
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": calls}, {"role": "user", "parts": answers}]}
    provider = context.random.choice(["gemini", "deepseek"])
    expect(await context.post(f"/v1beta/models/hostile-{provider}/plain:generateContent", body), *ANY)


@attack("2")
async def many_items_of_responses(context):
    items = [{"type": "function_call", "call_id": f"c{n}", "name": "f", "arguments": "{}"} for n in range(10_000)]
    items += [{"type": "function_call_output", "call_id": f"c{n}", "output": "x"} for n in range(10_000)]
    expect(await context.post("/v1/responses", {"model": "hostile-deepseek/plain", "input": items}), *ANY)


@attack("2")
async def many_stop_strings(context):
    path, body = context.random.choice(surfaces()[:3])
    expect(await context.post(path, {**body, "stop": [f"stop{n}" for n in range(20_000)]}), *ANY)


@attack("2")
async def a_large_logit_bias(context):
    path, body = context.random.choice(surfaces()[:3])
    expect(await context.post(path, {**body, "logit_bias": {str(n): 1 for n in range(50_000)}}), *ANY)


@functools.cache
def bombs():
    """Schemas that grow when they are expanded."""
    deep = {"type": "string"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep, "b": deep}, "required": ["a", "b"]} if len(json.dumps(deep)) < 20_000 else {"type": "array", "items": deep}
    doubling = {"$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {"type": "null"}}, "$ref": "#/$defs/d0"}
    return [
        deep,
        doubling,
        {"$ref": "#"},
        {"type": "array", "minItems": 10**9, "items": {"type": "string"}},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
        {"type": "string", "pattern": "(a|aa)*" * 2000 + "b"},
        {"enum": [f"value {n}" * 4 for n in range(20_000)]},
        {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(5_000)}, "additionalProperties": False},
        {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
        {"allOf": [{"type": "object", "properties": {f"p{n}": {}}} for n in range(2_000)]},
    ]


@attack("2")
async def a_schema_bomb(context):
    schema = context.random.choice(bombs())
    shape = {"type": "json_schema", "json_schema": {"name": "bomb", "strict": True, "schema": schema}}
    body = {"model": "deepseek-chat", "max_tokens": 4, "messages": [{"role": "user", "content": "json"}]}
    if context.random.random() < 0.5:
        body["response_format"] = shape
    else:
        body["tools"] = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}]
        body["tool_choice"] = "required"
    # A worker thread compiles schemas, on two shared cores.
    expect(await context.post("/beta/chat/completions", body, timeout=60), *ANY)


def form(parts, boundary="whale"):
    pieces = [f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts]
    return "".join(pieces).encode() + f"--{boundary}--\r\n".encode()


@attack("2")
async def a_form_of_many_parts(context):
    path = context.random.choice(["/v1/images/edits", "/v1/videos", "/v1/audio/transcriptions"])
    parts = [("model", "hostile-openai/plain"), *((f"p{n}", "x") for n in range(20_000)), ("prompt", "x")]
    context.random.shuffle(parts)
    expect(await context.post(path, form(parts), content_type="multipart/form-data; boundary=whale"), *ANY)


@attack("2")
async def an_invalid_form(context):
    path = context.random.choice(["/v1/images/edits", "/v1/videos"])
    body, kind = context.random.choice(
        [
            (b"--whale" * 200_000, "whale"), (b"\r\n--whale\r\n" * 100_000, "whale"), (b"--" * 1_000_000, "-"), (form([("model", "x")])[:-20], "whale"), (b"", "whale"),
            (b'--whale\r\ncontent-disposition: form-data; name="' + b"x" * 1_000_000, "whale"), (b"--whale\r\n" + b"x: y\r\n" * 100_000, "whale"), (b"x", "b" * 20_000), (b"x", '"'),
        ]
    )  # fmt: skip
    expect(await context.post(path, body, content_type=f"multipart/form-data; boundary={kind}"), 4, 503)


@attack("2")
async def many_ids_of_tasks(context):
    path = context.random.choice(["/suno/fetch", "/mj/task/list-by-condition"])
    expect(await context.post(path, {"ids": [f"task-{n}" for n in range(50_000)], "action": "MUSIC"}), 4, 503)


@attack("2")
async def strings_that_are_all_escapes(context):
    piece = context.random.choice(["\\u0000", '\\"', "\\ud83d\\udc33", "\\\\", "\\ud800"])
    body = f'{{"model":"hostile-deepseek/plain","messages":[{{"role":"user","content":"{piece * 200_000}"}}]}}'
    path = context.random.choice(["/v1/chat/completions", "/v1/messages"])
    expect(await context.post(path, body.encode()), *ANY)


@attack("2")
async def numbers_without_end(context):
    number = context.random.choice(["9" * 200_000, "1e" + "9" * 100_000, "-" + "0." + "0" * 200_000 + "1", "1" + "0" * 400 + ".5"])
    field = context.random.choice(["max_tokens", "n", "seed", "temperature", "top_p"])
    await to_any_surface(context, f'"{field}":{number}', *ANY)


@attack("2")
async def white_space(context):
    path, body = context.random.choice(surfaces())
    expect(await context.post(path, b" \n" * 2_000_000 + json.dumps(body).encode() + b"\t" * 2_000_000), *ANY)


@attack("2")
async def quotes_without_end(context):
    path, _ = context.random.choice(surfaces())
    expect(await context.post(path, b'{"' + b'":"' * 1_000_000), 4, 503)


@attack("2")
async def names_without_end(context):
    path, body = context.random.choice(surfaces()[:5])
    # The Messages API takes an unknown id for the local model.
    expect(await context.post(path, {**body, "model": "m" * 1_000_000}), *(ANY if "messages" in path else (4, 503)))


@attack("2")
async def invalid_text(context):
    path, body = context.random.choice(surfaces())
    text = json.dumps(body).encode()
    broken = context.random.choice([text.replace(b"hello", b"\xff\xfe"), text.replace(b"hello", b"\\ud800"), text[:-1], text + text, b"\xef\xbb\xbf" * 3 + text, b"NaN", b"", b"\0" * 1000])
    expect(await context.post(path, broken), *ANY)


@attack("2")
async def types_that_do_not_fit(context):
    path, body = context.random.choice(surfaces()[:10])
    field = context.random.choice([name for name in body if name != "model"])
    value = context.random.choice([None, True, -1, 1e308, "", [], {}, [[[]]], {"a": {"b": []}}, ["x"] * 1000, 10**30])
    reply = await context.post(path, {**body, field: value})
    expect(reply, *ANY)


@attack("2")
async def a_query_of_many_parts(context):
    query = "&".join(f"k{n}=v" for n in range(5_000))
    path = context.random.choice(["/v1/models", "/v1beta/models", "/user/quota", "/user/balance"])
    expect(await context.raw(client.request("GET", f"{path}?{query}", context.key)), 2, 4)


@attack("2")
async def answers_of_a_hundred_thousand_keys(context):
    stream = context.random.random() < 0.5
    path, model = context.random.choice([("/v1/chat/completions", "deepseek"), ("/v1/chat/completions", "anthropic"), ("/v1/messages", "anthropic"), ("/v1/messages", "openai")])
    expect(await context.post(path, context.chat(model=f"hostile-{model}/keys", stream=stream)), 200, 429, 502, 503)
