"""The official Anthropic client for Python against a running server."""

import anthropic

import checks

ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
TOOL = {
    "name": "get_weather",
    "description": "d",
    "input_schema": {
        "type": "object",
        "properties": {"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["unit", "days"],
    },
}
clients = [anthropic.Anthropic(base_url=checks.URL + root, api_key="sk-any", max_retries=0, timeout=300) for root in ("", "/anthropic")]


def fits(value):
    assert set(value) == {"unit", "days"} and value["unit"] in ("celsius", "fahrenheit") and 1 <= value["days"] <= 7, value


def message():
    """a message has the documented shape on both roots"""
    for client in clients:
        m = client.messages.create(model="claude-sonnet-4-5", max_tokens=32, system="Be brief.", messages=ASK)
        assert m.type == "message" and m.model == "claude-sonnet-4-5" and m.stop_reason in ("end_turn", "max_tokens"), m
        assert [block.type for block in m.content] in (["text"], []), m
        assert m.usage.output_tokens <= 32 and m.usage.input_tokens + m.usage.cache_read_input_tokens > 0, m
        assert m._request_id, "no request-id header"


def stream():
    """the deltas of a stream add up to its final message"""
    for client in clients:
        with client.messages.stream(model="claude-sonnet-4-5", max_tokens=32, messages=ASK) as s:
            text = "".join(s.text_stream)
            final = s.get_final_message()
        assert text == "".join(block.text for block in final.content) and final.stop_reason, final
        assert final.usage.output_tokens > 0, final


def tool_loop():
    """a tool loop continues with the results"""
    client = clients[0]
    messages = list(ASK)
    for choice in ({"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}):
        m = client.messages.create(model="claude-sonnet-4-5", max_tokens=400, messages=messages, tools=[TOOL], tool_choice=choice)
        assert m.stop_reason == "tool_use", m
        (call,) = [block for block in m.content if block.type == "tool_use"]
        fits(call.input)
        messages += [{"role": "assistant", "content": m.content}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "cloudy"}, {"type": "text", "text": "And tomorrow?"}]}]
    with client.messages.stream(model="claude-sonnet-4-5", max_tokens=400, messages=messages, tools=[TOOL], tool_choice={"type": "any", "disable_parallel_tool_use": True}) as s:
        final = s.get_final_message()
    fits([block for block in final.content if block.type == "tool_use"][0].input)


def thinking():
    """thinking comes as a signed block before the answer, streamed or not, and may be sent back"""
    client = clients[1]
    kw = dict(model="claude-sonnet-4-5", max_tokens=200, thinking={"type": "enabled", "budget_tokens": 1024})
    m = client.messages.create(messages=ASK, **kw)
    assert m.content[0].type == "thinking" and m.content[0].signature, m
    with client.messages.stream(messages=ASK, **kw) as s:
        final = s.get_final_message()
    assert final.content[0].type == "thinking" and final.content[0].signature, final
    client.messages.create(messages=[*ASK, {"role": "assistant", "content": m.content + [{"type": "text", "text": "So."}]}, {"role": "user", "content": "Go on."}], **kw)


def counting():
    """count_tokens equals the billed prompt tokens"""
    client = clients[0]
    n = client.messages.count_tokens(model="claude-sonnet-4-5", messages=ASK, system="Be brief.").input_tokens
    usage = client.messages.create(model="claude-sonnet-4-5", max_tokens=1, messages=ASK, system="Be brief.").usage
    assert n == usage.input_tokens + usage.cache_read_input_tokens, (n, usage)


def stop_sequence():
    """a stop sequence is named"""
    kw = dict(model="claude-sonnet-4-5", max_tokens=40, messages=ASK, extra_body={"temperature": 0})
    whole = clients[0].messages.create(**kw).content[0].text
    at = next(c for c in whole if not c.isspace() and c != whole[0])
    m = clients[0].messages.create(stop_sequences=["never said", at], **kw)
    assert (m.stop_reason, m.stop_sequence) == ("stop_sequence", at), (whole, m)
    assert m.content[0].text == whole.split(at)[0], (whole, m)


def faults():
    """invalid requests raise the exceptions of the client"""
    try:
        clients[0].messages.create(model="m", max_tokens=0, messages=ASK)
    except anthropic.BadRequestError as e:
        assert e.body["type"] == "error" and e.body["error"]["type"] == "invalid_request_error", e.body
    else:
        raise AssertionError("it was accepted")
    models = clients[0].models.list()
    assert any(m.id == "deepseek-chat" for m in models), models


checks.run("anthropic for Python", [message, stream, tool_loop, thinking, counting, stop_sequence, faults])
