"""The official OpenAI client for Python: structured output, tools, prefixes, fill-in-the-middle, the
Responses API. The text of the small model makes no sense, but its structure is enforced."""

import asyncio
import json
from typing import Literal

import openai
import requests
from pydantic import BaseModel

import checks

client = openai.OpenAI(base_url=checks.URL, api_key="sk-any", max_retries=0, timeout=300)
beta = openai.OpenAI(base_url=checks.URL + "/beta", api_key="sk-any", max_retries=0, timeout=300)
ASK = [{"role": "user", "content": "Give me the weather of Oslo as JSON."}]


class Weather(BaseModel):
    sky: Literal["clear", "cloudy"]
    degrees: int
    rain: bool


class Forecast(BaseModel):
    """Ask for a forecast"""

    day: Literal["today", "tomorrow"]
    weather: Weather


def tool(name="get_weather", strict=False):
    parameters = {
        "type": "object",
        "properties": {"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["unit", "days"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters, "strict": strict}}


def fits(arguments):
    value = json.loads(arguments)
    assert set(value) == {"unit", "days"} and value["unit"] in ("celsius", "fahrenheit") and 1 <= value["days"] <= 7, value


def json_object():
    """json_object gives one JSON object, streamed or not"""
    finished = 0
    for seed in range(6):
        kw = dict(model="deepseek-chat", messages=ASK, response_format={"type": "json_object"}, max_tokens=400, seed=seed, temperature=0.3)
        choice = client.chat.completions.create(**kw).choices[0]
        assert choice.message.content.startswith("{"), choice
        if choice.finish_reason == "stop":
            finished += 1
            assert isinstance(json.loads(choice.message.content), dict)
        chunks = client.chat.completions.create(stream=True, **kw)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == choice.message.content
    assert finished, "no answer was finished"


def parsed():
    """.parse() gives the pydantic model of a response_format"""
    for model in ("deepseek-chat", "deepseek-reasoner"):
        message = client.chat.completions.parse(model=model, messages=ASK, response_format=Weather, max_tokens=2000).choices[0].message
        assert isinstance(message.parsed, Weather), message


def parsed_tools():
    """.parse() gives the pydantic model of a strict tool, on both roots"""
    for c in (client, beta):
        r = c.chat.completions.parse(model="deepseek-chat", messages=ASK, tools=[openai.pydantic_function_tool(Forecast)], tool_choice="required", parallel_tool_calls=False, max_tokens=2000, seed=7)
        (call,) = r.choices[0].message.tool_calls
        assert isinstance(call.function.parsed_arguments, Forecast) and r.choices[0].finish_reason == "tool_calls", r


def stream_helper():
    """.stream() collects calls and parses them"""
    with client.chat.completions.stream(model="deepseek-chat", messages=ASK, tools=[tool(strict=True)], tool_choice="required", parallel_tool_calls=False, max_tokens=2000, seed=7) as s:
        kinds = {event.type for event in s}
        final = s.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds, kinds
    fits(final.choices[0].message.tool_calls[0].function.arguments)


def tool_loop():
    """a tool loop continues with the results, in both modes, by the same client"""
    for model in ("deepseek-chat", "deepseek-reasoner"):
        messages = list(ASK)
        for _ in range(2):
            r = client.chat.completions.create(model=model, messages=messages, tools=[tool(), tool("other")], tool_choice={"type": "function", "function": {"name": "get_weather"}}, parallel_tool_calls=False, max_tokens=2000)
            message = r.choices[0].message
            (call,) = message.tool_calls
            assert call.function.name == "get_weather" and call.id.startswith("call_00_"), call
            fits(call.function.arguments)
            messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "cloudy"}]
        last = client.chat.completions.create(model=model, messages=messages, tools=[tool()], tool_choice="none", max_tokens=30)
        assert last.choices[0].message.tool_calls is None, last


def unenforced_schemas():
    """what a grammar can enforce of a strict schema is enforced, and the rest is named with its path"""
    strict = tool(strict=True)
    strict["function"]["parameters"]["properties"]["days"] = {"type": "string", "minLength": 2, "maxLength": 3, "not": {"const": "no"}}
    for api in (client, beta):
        raw = api.chat.completions.with_raw_response.create(model="deepseek-chat", messages=ASK, tools=[strict], tool_choice="required", max_tokens=300)
        assert raw.headers["x-compat-note"] == "the schema of the tool get_weather is not enforced at properties.days.not", raw.headers
        arguments = json.loads(raw.parse().choices[0].message.tool_calls[0].function.arguments)
        assert 2 <= len(arguments["days"]) <= 3, arguments


def prefix_and_fim():
    """a prefix is continued, and the middle filled in"""
    messages = [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "One, two,", "prefix": True}]
    said = beta.chat.completions.create(model="deepseek-chat", messages=messages, max_tokens=8).choices[0].message.content
    assert not said.startswith("One, two,"), said
    r = beta.completions.create(model="deepseek-chat", prompt="def fib(a):", suffix="    return fib(a-1) + fib(a-2)", max_tokens=16)
    assert r.object == "text_completion" and isinstance(r.choices[0].text, str), r
    r = client.completions.create(model="deepseek-chat", prompt="Once", echo=True, logprobs=2)
    assert r.choices[0].text.startswith("Once") and r.usage.completion_tokens <= 16, r
    lp = r.choices[0].logprobs
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset), lp
    streamed = client.completions.create(model="deepseek-chat", prompt="Once", max_tokens=8, seed=5, stream=True)
    whole = client.completions.create(model="deepseek-chat", prompt="Once", max_tokens=8, seed=5)
    assert "".join(c.choices[0].text for c in streamed if c.choices) == whole.choices[0].text


def responses():
    """responses.create and responses.stream, with a function call"""
    r = client.responses.create(model="deepseek-chat", input="Hello", max_output_tokens=20)
    assert r.output[0].type == "message" and r.status in ("completed", "incomplete") and r.usage.total_tokens > 0, r
    function = {"type": "function", **tool()["function"]}
    r = client.responses.create(model="deepseek-chat", input="Weather?", tools=[function], tool_choice="required", parallel_tool_calls=False, max_output_tokens=200)
    (call,) = r.output
    fits(call.arguments)
    with client.responses.stream(model="deepseek-reasoner", input="Hello", max_output_tokens=60) as s:
        kinds = [event.type for event in s]
        final = s.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"] and final.output[0].type == "reasoning", (kinds, final)


def balance():
    """the balance is available"""
    assert requests.get(checks.URL + "/user/balance", headers={"Authorization": "Bearer sk-any"}).json() == {"is_available": True, "balance_infos": []}


def cache_counts():
    """an agent that sends its growing conversation again pays for the new tokens"""
    messages = [{"role": "user", "content": "Tell me about the sea and all that lives in it. " * 40}]
    first = client.chat.completions.create(model="deepseek-chat", messages=messages, max_tokens=4, user="cache-test")
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, {"role": "user", "content": "More."}]
    second = client.chat.completions.create(model="deepseek-chat", messages=messages, max_tokens=4, user="cache-test").usage
    before = first.usage.prompt_tokens
    assert second.prompt_cache_hit_tokens % 64 == 0 and second.prompt_cache_hit_tokens >= (before - 1) // 64 * 64, (first.usage, second)
    other = client.chat.completions.create(model="deepseek-chat", messages=messages, max_tokens=4, user="somebody-else").usage
    assert other.prompt_cache_hit_tokens == 0, other


async def parallel_calls():
    """50 parallel streams of calls all fit their schema"""
    aio = openai.AsyncOpenAI(base_url=checks.URL, api_key="sk-any", max_retries=0, timeout=300)

    async def ask(i):
        s = await aio.chat.completions.create(model="deepseek-chat", messages=[{"role": "user", "content": f"Weather {i}?"}], tools=[tool()], tool_choice="required", parallel_tool_calls=False, max_tokens=200, seed=i, temperature=1.5, stream=True)
        arguments = ""
        async for c in s:
            for choice in c.choices:
                for call in choice.delta.tool_calls or []:
                    arguments += call.function.arguments
        fits(arguments)
    await asyncio.gather(*(ask(i) for i in range(50)))
    await aio.close()


checks.run("openai for Python, shapes", [json_object, parsed, parsed_tools, stream_helper, tool_loop, unenforced_schemas, prefix_and_fim, responses, balance, cache_counts, parallel_calls])
