"""openai-agents, instructor and llm: against the model of a running server (CACHALOT_URL), and against the fake providers behind a gateway (CACHALOT_MATRIX_URL).

The first checks shapes, the second every word. Nothing is traced, and llm has a home of its own."""

import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Literal

import anthropic
import instructor
import openai
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from pydantic import BaseModel

import checks

set_tracing_disabled(True)

DIALECTS = ("openai", "deepseek", "anthropic", "gemini")
MATRIX_URL = os.environ.get("CACHALOT_MATRIX_URL")
QUESTION = "How is the weather in Paris and Rome?"
MODELS = {"responses": OpenAIResponsesModel, "chat completions": OpenAIChatCompletionsModel}
CALLED = []


class Weather(BaseModel):
    """The weather"""

    sky: Literal["clear", "cloudy"]
    rain: bool


@function_tool
def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """Tells the weather."""
    CALLED.append(("get_weather", city))
    return f"sunny in {city}"


@function_tool
def get_forecast(city: Literal["Paris", "Rome"]) -> dict:
    """Tells the weather of tomorrow."""
    CALLED.append(("get_forecast", city))
    return {"city": city, "tomorrow": "rain"}


def client(url):
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0)


def named(name, check):
    check.__doc__ = name
    return check


def agents_local(kind):
    async def check():
        CALLED.clear()
        async with client(checks.URL) as opened:
            model = MODELS[kind](model="deepseek-chat", openai_client=opened)
            settings = ModelSettings(tool_choice="get_weather", max_tokens=300)
            agent = Agent("Reporter", instructions="Be short.", model=model, tools=[get_weather], model_settings=settings, tool_use_behavior="stop_on_first_tool")
            result = await Runner.run(agent, QUESTION)
            assert CALLED and result.final_output.startswith("sunny in "), result
            streamed = Runner.run_streamed(Agent("Talker", model=model, model_settings=ModelSettings(max_tokens=40)), "Hello")
            deltas = [event.data.delta async for event in streamed.stream_events() if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"]
            assert "".join(deltas) == streamed.final_output, (deltas, streamed.final_output)
            shaped = Agent("Shaped", model=model, output_type=Weather, model_settings=ModelSettings(max_tokens=300))
            assert isinstance((await Runner.run(shaped, "Weather as JSON?")).final_output, Weather)

    return named(f"openai-agents, {kind}: a tool, a stream, an output type", check)


def agents_remote(kind, dialect):
    async def check():
        async with client(MATRIX_URL) as opened:
            model = MODELS[kind](model=dialect, openai_client=opened)
            for streams in (False, True):
                CALLED.clear()
                agent = Agent("Reporter", instructions="Be short.", model=model, tools=[get_weather, get_forecast])
                if streams:
                    result = Runner.run_streamed(agent, QUESTION)
                    names = {event.name async for event in result.stream_events() if event.type == "run_item_stream_event"}
                    assert {"tool_called", "tool_output", "message_output_created"} <= names, names
                else:
                    result = await Runner.run(agent, QUESTION)
                assert sorted(CALLED) == [("get_forecast", "Rome"), ("get_weather", "Paris"), ("get_weather", "Rome")], CALLED
                assert result.final_output == "It is sunny." and len(result.raw_responses) == 3, result
            shaped = Agent("Shaped", model=model, output_type=Weather)
            assert (await Runner.run(shaped, "hi")).final_output == Weather(sky="clear", rain=False)

    return named(f"openai-agents, {kind} to {dialect}: a loop of three steps, whole and streamed, an output type", check)


def instructor_clients(url):
    over_openai = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0)
    over_anthropic = anthropic.Anthropic(base_url=url, api_key="sk-any", max_retries=0)
    yield "openai, tools", instructor.from_openai(over_openai, mode=instructor.Mode.TOOLS)
    yield "openai, schema", instructor.from_openai(over_openai, mode=instructor.Mode.JSON_SCHEMA)
    yield "anthropic, tools", instructor.from_anthropic(over_anthropic, mode=instructor.Mode.ANTHROPIC_TOOLS)


def structured(client, name, expected):
    def check():
        ask = dict(model=name, response_model=Weather, messages=[{"role": "user", "content": "What is the weather?"}], max_tokens=300, max_retries=0)
        answer = client.chat.completions.create(**ask)
        partials = list(client.chat.completions.create_partial(**ask))
        for weather in (answer.model_dump(), partials[-1].model_dump()):
            assert Weather.model_validate(weather) == (expected or Weather(**weather)), weather

    return check


def llm_runs(url, name, expected):
    """Runs llm as a program: a prompt, a stream, a schema, and a tool."""
    with tempfile.TemporaryDirectory() as home:
        options = "supports_tools: true\n  supports_schema: true"
        pathlib.Path(home, "extra-openai-models.yaml").write_text(f"- model_id: whale\n  model_name: {name}\n  api_base: {url}/v1\n  {options}\n")
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LLM_USER_PATH": home, "OPENAI_API_KEY": "sk-any", "NO_COLOR": "1"}

        def llm(*arguments):
            command = [sys.executable, "-m", "llm", "prompt", "-m", "whale", *arguments]
            done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, done.stderr[-1000:]
            return done.stdout.strip()

        limit = ("-o", "max_tokens", "300")
        whole, streamed = llm("hi", "--no-stream", *limit), llm("hi", *limit)
        shaped = Weather.model_validate_json(llm("Weather as JSON?", "--schema", '{"type": "object", "properties": {"sky": {"enum": ["clear", "cloudy"]}, "rain": {"type": "boolean"}}, "required": ["sky", "rain"]}', *limit))
        if expected:
            assert whole == streamed == "Hello, whale." and shaped == Weather(sky="clear", rain=False), (whole, streamed, shaped)
            tool = "def get_weather(city: str) -> str:\n    return f'sunny in {city}'"
            assert llm(QUESTION, "--functions", tool) == "It is sunny."


def all_checks():
    if "CACHALOT_URL" in os.environ:
        for kind in MODELS:
            yield agents_local(kind)
        for name, client in instructor_clients(checks.URL):
            yield named(f"instructor over {name}: an object, and its parts as they come", structured(client, "deepseek-chat", None))
        yield named("llm: a prompt, a stream, a schema", lambda: llm_runs(checks.URL, "deepseek-chat", False))
    for dialect in DIALECTS if MATRIX_URL else ():
        for kind in MODELS:
            yield agents_remote(kind, dialect)
        for name, client in instructor_clients(MATRIX_URL):
            yield named(f"instructor over {name} to {dialect}: an object, and its parts as they come", structured(client, dialect, Weather(sky="clear", rain=False)))
        yield named(f"llm to {dialect}: a prompt, a stream, a schema, a tool", lambda dialect=dialect: llm_runs(MATRIX_URL, dialect, True))


checks.run("agent frameworks", list(all_checks()))
