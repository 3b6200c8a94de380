"""The official clients for Python, each against a provider of each dialect behind the gateway (fake_providers.py)."""

import json
import os

import anthropic
import openai
from checks import run
from google import genai
from google.genai import types

URL = os.environ["CACHALOT_MATRIX_URL"]
DIALECTS = ("openai", "deepseek", "anthropic", "gemini")
QUESTION = "How is the weather in Paris and Rome?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CITIES = [{"city": "Paris"}, {"city": "Rome"}]
# OpenAI does not return reasoning.
REASONING = {"openai": "", "deepseek": "Let me think.", "anthropic": "Let me think.", "gemini": "Let me think."}


class OpenAi:
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="sk-any", max_retries=0)
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]

    def complete_response(self, dialect):
        r = self.client.chat.completions.create(model=dialect, messages=[{"role": "user", "content": "hi"}], max_tokens=50)
        assert r.choices[0].message.content == "Hello, whale." and r.choices[0].finish_reason == "stop", r
        assert (r.usage.prompt_tokens, r.usage.completion_tokens, r.usage.prompt_tokens_details.cached_tokens) == (11, 7, 3), r.usage

    def stream(self, dialect):
        chunks = list(self.client.chat.completions.create(model=dialect, messages=[{"role": "user", "content": "hi"}], stream=True, stream_options={"include_usage": True}))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello, whale.", chunks
        assert chunks[-1].usage.prompt_tokens == 11 and [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop", chunks

    def tools_and_reasoning(self, dialect, streamed):
        thinking = {"extra_body": {"thinking": {"type": "enabled"}}} if dialect != "openai" else {}
        messages = [{"role": "user", "content": QUESTION}]
        if streamed:
            with self.client.chat.completions.stream(model=dialect, messages=messages, tools=self.tools, **thinking) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = self.client.chat.completions.create(model=dialect, messages=messages, tools=self.tools, **thinking).choices[0].message
        assert [json.loads(call.function.arguments) for call in message.tool_calls] == CITIES, message
        assert (getattr(message, "reasoning_content", None) or "") == REASONING[dialect], message
        calls = [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in message.tool_calls]
        back = {"role": "assistant", "content": message.content or "", "tool_calls": calls}
        if REASONING[dialect]:
            back["reasoning_content"] = message.reasoning_content
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
        r = self.client.chat.completions.create(model=dialect, messages=[*messages, back, *results], tools=self.tools, **thinking)
        assert r.choices[0].message.content == "It is sunny.", r


class Responses:
    client = OpenAi.client
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}]

    def complete_response(self, dialect):
        r = self.client.responses.create(model=dialect, input="hi")
        assert r.output_text == "Hello, whale." and r.status == "completed" and r.usage.input_tokens == 11 and r.usage.input_tokens_details.cached_tokens == 3, r

    def stream(self, dialect):
        with self.client.responses.stream(model=dialect, input="hi") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == "Hello, whale.", text

    def tools_and_reasoning(self, dialect, streamed):
        ask = [{"role": "user", "content": QUESTION}]
        if streamed:
            with self.client.responses.stream(model=dialect, input=ask, tools=self.tools) as stream:
                r = stream.get_final_response()
        else:
            r = self.client.responses.create(model=dialect, input=ask, tools=self.tools)
        calls = [item for item in r.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == CITIES, r
        items = [{"type": "function_call", "call_id": c.call_id, "name": c.name, "arguments": c.arguments} for c in calls]
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
        assert self.client.responses.create(model=dialect, input=[*ask, *items, *results], tools=self.tools).output_text == "It is sunny."


class Anthropic:
    client = anthropic.Anthropic(base_url=URL, api_key="sk-any", max_retries=0)
    tools = [{"name": "get_weather", "input_schema": SCHEMA}]

    def complete_response(self, dialect):
        r = self.client.messages.create(model=dialect, max_tokens=50, messages=[{"role": "user", "content": "hi"}])
        assert r.content[-1].text == "Hello, whale." and r.stop_reason == "end_turn", r
        assert (r.usage.input_tokens, r.usage.cache_read_input_tokens, r.usage.output_tokens) == (8, 3, 7), r.usage

    def stream(self, dialect):
        with self.client.messages.stream(model=dialect, max_tokens=50, messages=[{"role": "user", "content": "hi"}]) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == final.content[-1].text == "Hello, whale." and final.usage.output_tokens == 7, final

    def tools_and_reasoning(self, dialect, streamed):
        thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if dialect != "openai" else {}
        messages = [{"role": "user", "content": QUESTION}]
        request = dict(model=dialect, max_tokens=4000, messages=messages, tools=self.tools, **thinking)
        if streamed:
            with self.client.messages.stream(**request) as stream:
                r = stream.get_final_message()
        else:
            r = self.client.messages.create(**request)
        assert [block.input for block in r.content if block.type == "tool_use"] == CITIES and r.stop_reason == "tool_use", r
        assert "".join(block.thinking for block in r.content if block.type == "thinking") == REASONING[dialect], r
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"} for block in r.content if block.type == "tool_use"]
        messages += [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in r.content]}, {"role": "user", "content": results}]
        r = self.client.messages.create(**{**request, "messages": messages})
        assert r.content[-1].text == "It is sunny.", r


class Gemini:
    client = genai.Client(api_key="sk-any", http_options={"base_url": URL})
    tools = [types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", description="d", parameters_json_schema=SCHEMA)])]

    def complete_response(self, dialect):
        r = self.client.models.generate_content(model=dialect, contents="hi")
        assert r.text == "Hello, whale." and r.candidates[0].finish_reason.name == "STOP", r
        assert (r.usage_metadata.prompt_token_count, r.usage_metadata.candidates_token_count, r.usage_metadata.cached_content_token_count) == (11, 7, 3), r

    def stream(self, dialect):
        chunks = list(self.client.models.generate_content_stream(model=dialect, contents="hi"))
        assert "".join(chunk.text or "" for chunk in chunks) == "Hello, whale." and chunks[-1].usage_metadata.prompt_token_count == 11, chunks

    def tools_and_reasoning(self, dialect, streamed):
        thoughts = types.ThinkingConfig(include_thoughts=True) if dialect != "openai" else None
        config = types.GenerateContentConfig(tools=self.tools, thinking_config=thoughts)
        ask = types.Content(role="user", parts=[types.Part(text=QUESTION)])
        if streamed:
            chunks = self.client.models.generate_content_stream(model=dialect, contents=[ask], config=config)
            parts = [part for chunk in chunks for part in (chunk.candidates[0].content.parts or [] if chunk.candidates and chunk.candidates[0].content else [])]
        else:
            parts = self.client.models.generate_content(model=dialect, contents=[ask], config=config).candidates[0].content.parts
        calls = [part.function_call for part in parts if part.function_call]
        assert [call.args for call in calls] == CITIES, parts
        assert "".join(part.text for part in parts if part.thought) == REASONING[dialect], parts
        results = [types.Part.from_function_response(name=call.name, response={"result": "sunny"}) for call in calls]
        history = [ask, types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]
        assert self.client.models.generate_content(model=dialect, contents=history, config=config).text == "It is sunny."


def matrix_case(name, run, *how):
    def check():
        run(*how)

    check.__doc__ = name
    return check


def matrix_cases():
    for surface in (OpenAi(), Responses(), Anthropic(), Gemini()):
        for dialect in DIALECTS:
            pair = f"{type(surface).__name__} to {dialect}"
            yield matrix_case(f"{pair}: a non-streaming answer and its counts", surface.complete_response, dialect)
            yield matrix_case(f"{pair}: a stream", surface.stream, dialect)
            yield matrix_case(f"{pair}: parallel calls, reasoning, and results", surface.tools_and_reasoning, dialect, False)
            yield matrix_case(f"{pair}: the same from a stream", surface.tools_and_reasoning, dialect, True)


run("matrix for Python", list(matrix_cases()))
