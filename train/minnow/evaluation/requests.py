"""The requests with which a newcomer begins, sent as they are, and the speed of the server."""

import time

from .server import Server

MEETING = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Summarize the attached meeting transcript in 3 bullet points."}]
# (name, path, body): README.md, and the curl and Python samples of a service's guide (tests/clients/cometapi_guide.*)
REQUESTS = [
    ("README.md, first request", "/chat/completions", {"model": "deepseek-chat", "messages": [{"role": "user", "content": "Who are you?"}], "stream": True}),
    ("guide, curl", "/v1/chat/completions", {"model": "deepseek-v3.2-exp", "messages": MEETING, "max_tokens": 512, "stream": False}),
    ("guide, Python", "/v1/chat/completions", {"model": "DeepSeek-V3.2-Exp-thinking", "messages": MEETING, "max_tokens": 800}),
]
WORDS = "The ferry to the island leaves at noon, and nobody on the pier knows yet whether the storm will reach the harbour before the evening. "


def send(server, path, body):
    """{"content", "reasoning", "seed"} of the answer."""
    import json
    if body.get("stream"):
        return {"content": "".join(text for text, _ in server.stream(path, body)), "reasoning": None, "seed": body["seed"]}
    message = json.load(server.post(path, body))["choices"][0]["message"]
    return {"content": message["content"], "reasoning": message.get("reasoning_content"), "seed": body["seed"]}


def speed(binary, model):
    """Seconds from the start to the first answer's end; to the first token of a prompt of about
    1,000 tokens on two threads; tokens a second of one request on one thread."""
    with Server(binary, model, 2) as server:
        server.ask({"model": "deepseek-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16, "seed": 1})
        first_answer = time.time() - server.started
        body = {"model": "deepseek-chat", "messages": [{"role": "user", "content": WORDS * 36 + "Summarize this in one sentence."}], "max_tokens": 4, "seed": 1}
        began = time.time()
        answer = server.ask(body | {"max_tokens": 1})
        first_token = time.time() - began
    with Server(binary, model, 1) as server:
        ask = lambda n: server.ask({"model": "deepseek-chat", "messages": [{"role": "user", "content": "Write a long story about the sea."}], "max_tokens": n, "seed": 1, "temperature": 1})
        ask(8)
        long = max((ask(200) for _ in range(3)), key=lambda x: x["completion_tokens"] / x["seconds"])
    return {"first_answer_s": round(first_answer, 2), "prompt_tokens": answer["prompt_tokens"], "first_token_s": round(first_token, 2),
            "tokens_per_s": round(long["completion_tokens"] / long["seconds"], 1)}
