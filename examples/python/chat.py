"""OpenAI's client for Python against cachalot: a streamed answer with its reasoning, then a tool call and its result.

    pip install openai
    python3 examples/python/chat.py
"""

import json
import os

import openai

MODEL = os.environ.get("CACHALOT_MODEL", "deepseek-chat")
client = openai.OpenAI(
    base_url=os.environ.get("CACHALOT_URL", "http://127.0.0.1:8000"),
    api_key=os.environ.get("CACHALOT_KEY", "any"),
)


def stream_with_reasoning():
    """Prints the reasoning and the answer as they arrive."""
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Which is larger, 9.11 or 9.8?"}],
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"thinking": {"type": "enabled"}},
    )
    shown = None
    for chunk in stream:
        for choice in chunk.choices:
            # `reasoning_content` is DeepSeek's field; the client keeps it although it does not know it.
            pieces = {"reasoning": getattr(choice.delta, "reasoning_content", None), "answer": choice.delta.content}
            for part, text in pieces.items():
                if text:
                    print(f"\n[{part}] " if part != shown else "", text, sep="", end="", flush=True)
                    shown = part
            if choice.finish_reason:
                print(f"\n[ended: {choice.finish_reason}]")
        if chunk.usage:
            print(f"[{chunk.usage.prompt_tokens} tokens read, {chunk.usage.completion_tokens} written]")


def get_weather(city):
    """What the model can call. A real one would ask a weather service."""
    return {"city": city, "celsius": 21}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


def call_a_tool():
    """Has the model call the tool, and gives it the results."""
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    # The answer has to be a call. With "auto" the model chooses between a call and text.
    reply = client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice="required", max_tokens=300
    )
    message = reply.choices[0].message
    messages.append(message.model_dump(exclude_none=True))
    for call in message.tool_calls:
        # The arguments are always JSON that fits the schema, unless `max_tokens` has cut them.
        result = get_weather(**json.loads(call.function.arguments))
        print(f"[call] {call.function.name}({call.function.arguments}) -> {result}")
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    reply = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=100)
    print(f"[answer] {reply.choices[0].message.content}")


stream_with_reasoning()
call_a_tool()
