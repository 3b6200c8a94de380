"""LangChain's ChatDeepSeek, LiteLLM as a client, and pydantic-ai against a running server."""

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no lookup over the network

from typing import Literal

import litellm
from langchain_core.tools import tool as langchain_tool
from langchain_deepseek import ChatDeepSeek
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import checks


class Weather(BaseModel):
    """The weather"""

    sky: Literal["clear", "cloudy"]
    rain: bool


@langchain_tool
def get_weather(unit: Literal["celsius", "fahrenheit"]) -> str:
    """Tells the weather."""
    return f"20 {unit}"


def langchain():
    """LangChain ChatDeepSeek: invoke, stream, bind_tools, with_structured_output"""
    llm = ChatDeepSeek(model="deepseek-chat", api_base=checks.URL, api_key="sk-any", max_tokens=200, max_retries=0)
    assert llm.invoke("Hello").usage_metadata["total_tokens"] > 0
    assert "".join(chunk.text if isinstance(chunk.text, str) else chunk.text() for chunk in llm.stream("Hello")) is not None
    called = llm.bind_tools([get_weather], tool_choice="get_weather").invoke("Weather?")
    assert called.tool_calls[0]["name"] == "get_weather" and called.tool_calls[0]["args"]["unit"] in ("celsius", "fahrenheit"), called
    assert isinstance(llm.with_structured_output(Weather).invoke("Weather as JSON?"), Weather)
    thinker = ChatDeepSeek(model="deepseek-reasoner", api_base=checks.URL, api_key="sk-any", max_tokens=60, max_retries=0)
    assert isinstance(thinker.invoke("Hello").additional_kwargs["reasoning_content"], str)


def litellm_client():
    """LiteLLM: completion, stream, tools, an over-long prompt recognised"""
    kw = dict(model="deepseek/deepseek-chat", api_base=checks.URL, api_key="sk-any", num_retries=0)
    hello = [{"role": "user", "content": "Hello"}]
    assert litellm.completion(messages=hello, max_tokens=16, **kw).usage.total_tokens > 0
    assert list(litellm.completion(messages=hello, max_tokens=16, stream=True, **kw))
    parameters = {"type": "object", "properties": {"unit": {"enum": ["celsius"]}}, "required": ["unit"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    call = litellm.completion(messages=hello, tools=tools, tool_choice="required", max_tokens=300, **kw).choices[0].message.tool_calls[0]
    assert call.function.arguments == '{"unit": "celsius"}', call
    try:
        litellm.completion(messages=[{"role": "user", "content": "word " * 150_000}], **kw)
    except litellm.ContextWindowExceededError:
        pass
    else:
        raise AssertionError("an over-long prompt was answered")


def pydantic_ai():
    """pydantic-ai: an agent with structured output"""
    model = OpenAIChatModel("deepseek-chat", provider=OpenAIProvider(base_url=checks.URL, api_key="sk-any"))
    agent = Agent(model, output_type=Weather, retries=3, model_settings={"max_tokens": 300})
    result = agent.run_sync("What is the weather?")
    assert isinstance(result.output, Weather), result


checks.run("frameworks", [langchain, litellm_client, pydantic_ai])
