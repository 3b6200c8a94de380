"""The official Gemini client for Python against a running server."""

from google import genai
from google.genai import types

import checks

# The version in the path is the default of the client; `versions` names others.
client = genai.Client(api_key="sk-any", http_options={"base_url": checks.URL, "timeout": 300_000})
MODEL = "deepseek-chat"


def whole():
    """an answer has text, a reason and counts"""
    r = client.models.generate_content(model=MODEL, contents="Who are you?", config={"max_output_tokens": 32, "temperature": 0})
    assert r.text is not None and r.candidates[0].finish_reason.name in ("STOP", "MAX_TOKENS"), r
    assert r.usage_metadata.prompt_token_count > 0 and 0 < r.usage_metadata.candidates_token_count <= 32, r.usage_metadata


def stream():
    """the chunks of a stream add up to the complete answer"""
    config = {"max_output_tokens": 32, "temperature": 0}
    want = client.models.generate_content(model=MODEL, contents="Tell me a story.", config=config)
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="Tell me a story.", config=config))
    assert "".join(c.text or "" for c in chunks) == (want.text or ""), chunks
    assert chunks[-1].candidates[0].finish_reason and chunks[-1].usage_metadata.total_token_count > 0, chunks[-1]


def thoughts():
    """thoughts are returned on request, and counted in any case"""
    config = types.GenerateContentConfig(max_output_tokens=64, thinking_config=types.ThinkingConfig(include_thoughts=True))
    r = client.models.generate_content(model="deepseek-reasoner", contents="What is 2+2?", config=config)
    assert any(part.thought for part in r.candidates[0].content.parts), r
    r = client.models.generate_content(model="deepseek-reasoner", contents="What is 2+2?", config={"max_output_tokens": 64})
    assert not any(part.thought for part in r.candidates[0].content.parts or []), r
    assert r.usage_metadata.thoughts_token_count > 0, r.usage_metadata


def tools():
    """a forced call matches its schema, and its result is accepted"""
    weather = types.FunctionDeclaration(
        name="get_weather",
        description="d",
        parameters=types.Schema(
            type="OBJECT",
            properties={"unit": types.Schema(type="STRING", enum=["celsius", "fahrenheit"]), "days": types.Schema(type="INTEGER", minimum=1, maximum=7)},
            required=["unit", "days"],
        ),
    )
    choice = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_weather"]))
    config = types.GenerateContentConfig(max_output_tokens=400, tools=[types.Tool(function_declarations=[weather])], tool_config=choice)
    ask = types.Content(role="user", parts=[types.Part(text="What is the weather in Oslo?")])
    r = client.models.generate_content(model=MODEL, contents=[ask], config=config)
    call = r.function_calls[0]
    assert call.name == "get_weather" and set(call.args) == {"unit", "days"} and 1 <= call.args["days"] <= 7, call
    result = types.Part.from_function_response(name=call.name, response={"result": "7 degrees"})
    history = [ask, r.candidates[0].content, types.Content(role="user", parts=[result])]
    r = client.models.generate_content(model=MODEL, contents=history, config={"max_output_tokens": 32})
    assert r.candidates[0].finish_reason, r


def schema():
    """JSON with a schema matches it"""
    config = {"max_output_tokens": 200, "response_mime_type": "application/json", "response_json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}}
    r = client.models.generate_content(model=MODEL, contents="A number, as JSON.", config=config)
    assert isinstance(r.parsed, dict) and isinstance(r.parsed["n"], int), r


def count():
    """counted prompt tokens equal the billed ones"""
    r = client.models.generate_content(model=MODEL, contents="Who are you?", config={"max_output_tokens": 4})
    assert client.models.count_tokens(model=MODEL, contents="Who are you?").total_tokens == r.usage_metadata.prompt_token_count


def models():
    """models are listed and found"""
    names = [model.name for model in client.models.list()]
    assert "models/deepseek-chat" in names, names
    assert client.models.get(model=MODEL).name == "models/deepseek-chat"


def versions():
    """every version of the API is served: answers, streams, counts and models"""
    config = {"max_output_tokens": 8, "temperature": 0}
    for version in ("v1", "v1beta", "v1alpha"):
        other = genai.Client(api_key="sk-any", http_options={"base_url": checks.URL, "api_version": version, "timeout": 300_000})
        r = other.models.generate_content(model=MODEL, contents="Who are you?", config=config)
        assert r.candidates[0].finish_reason and r.usage_metadata.prompt_token_count > 0, (version, r)
        assert list(other.models.generate_content_stream(model=MODEL, contents="Who are you?", config=config))[-1].candidates[0].finish_reason, version
        assert other.models.count_tokens(model=MODEL, contents="Who are you?").total_tokens == r.usage_metadata.prompt_token_count, version
        assert other.models.get(model=MODEL).name == "models/deepseek-chat", version


def refusal():
    """a refusal raises the exception of the client"""
    try:
        client.models.generate_content(model="nobody", contents="hi")
    except genai.errors.ClientError as e:
        assert e.code == 400 and "Model Not Exist" in e.message, e
    else:
        raise AssertionError("no error")


checks.run("google-genai for Python", [whole, stream, thoughts, tools, schema, count, models, versions, refusal])
