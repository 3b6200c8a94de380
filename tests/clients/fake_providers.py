"""Fake providers of four dialects on one port, which the official clients call through cachalot: /openai, /deepseek, /anthropic, /gemini.

    python3 fake_providers.py        # prints its address

Each answers "Hello, whale." in two pieces, after the reasoning "Let me think." if thinking is enabled. With the tool get_weather and without results it calls the
tool for Paris and Rome; after both results it calls the tool get_forecast if there is one, and at last answers "It is sunny.". Asked for JSON, it answers
{"sky": "clear", "rain": false}, or calls the tool json or one whose name ends with Weather. It reports 11 prompt tokens (3 of them cached) and 7 completion tokens. Like the real service
it refuses unknown fields, results without their calls, and reasoning without its signature."""

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CITIES = ("Paris", "Rome")
WEATHER = {"sky": "clear", "rain": False}
RESPONSE_NUMBERS = itertools.count()
SIGNATURE = "c2lnbmVk"


class BadRequest(Exception):
    pass


def require(condition, what):
    if not condition:
        raise BadRequest(what)


def choose_reply(asked):
    """Text and calls of the reply to what was asked."""
    calls = []
    if "get_weather" in asked.tools and not asked.results:
        calls = [(f"call_{i}", "get_weather", {"city": city}) for i, city in enumerate(CITIES)]
    elif "get_forecast" in asked.tools and len(asked.results) == len(CITIES):
        calls = [("call_2", "get_forecast", {"city": CITIES[-1]})]
    elif shaped := [name for name in asked.tools if name == "json" or name.endswith("Weather")]:
        calls = [("call_0", shaped[0], WEATHER)]
    object_text = json.dumps(WEATHER)
    text = [] if calls else [object_text[:9], object_text[9:]] if asked.wants_json else ["It is ", "sunny."] if asked.results else ["Hello, ", "whale."]
    return text, calls


class Asked:
    """What a request asks for: the names of its tools, the texts of the results in it, and whether the answer must be JSON."""

    def __init__(self, tools, results, wants_json):
        self.tools, self.results, self.wants_json = tools, results, wants_json


def text_of(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


def thoughts_of(thinks):
    return ["Let me ", "think."] if thinks else []


class Completions:
    """Chat completions; strict like OpenAI's, or with reasoning like DeepSeek's."""

    KNOWN = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "max_tokens", "max_completion_tokens", "temperature", "top_p", "parallel_tool_calls", "user", "reasoning_effort", "stop", "response_format", "seed", "n"}

    def __init__(self, strict, choose=choose_reply):
        self.strict, self.choose = strict, choose

    def answer(self, path, body):
        require(path.endswith("/chat/completions"), path)
        unknown = set(body) - self.KNOWN
        require(not self.strict or not unknown, f"unknown fields {unknown}")
        messages = body["messages"]
        calls = [call for message in messages for call in message.get("tool_calls") or []]
        results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        require([call["id"] for call in calls] == results, "every call has its result")
        thinks = (body.get("thinking") or {}).get("type") == "enabled" and not self.strict
        if thinks and results:
            require(any(message.get("reasoning_content") for message in messages), "the reasoning of the turn comes back")
        names = [tool["function"]["name"] for tool in body.get("tools") or []]
        wants_json = (body.get("response_format") or {}).get("type") in ("json_object", "json_schema")
        texts = [text_of(message["content"]) for message in messages if message["role"] == "tool"]
        thoughts, (text, calls) = thoughts_of(thinks), self.choose(Asked(names, texts, wants_json))
        finish = "tool_calls" if calls else "stop"
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 3}}
        if not self.strict:
            usage.update(prompt_cache_hit_tokens=3, prompt_cache_miss_tokens=8)
        calls = [{"id": name, "type": "function", "function": {"name": function, "arguments": json.dumps(arguments)}} for name, function, arguments in calls]
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(text) or None, **({"reasoning_content": "".join(thoughts)} if thinks else {}), **({"tool_calls": calls} if calls else {})}
            return {**head, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}
        deltas = [{"role": "assistant", "content": ""}, *({"reasoning_content": piece} for piece in thoughts), *({"content": piece} for piece in text)]
        for index, call in enumerate(calls):
            arguments = call["function"].pop("arguments")
            deltas.append({"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]})
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in (arguments[:6], arguments[6:])]
        chunk = {**head, "object": "chat.completion.chunk"}
        events = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**chunk, "choices": [], "usage": usage})
        return [(None, event) for event in events] + [(None, "[DONE]")]


class Messages:
    """Anthropic's Messages API."""

    def __init__(self, choose=choose_reply):
        self.choose = choose

    def answer(self, path, body):
        require(path.endswith("/messages") and body["max_tokens"] > 0, path)
        blocks = [block for message in body["messages"] if isinstance(message["content"], list) for block in message["content"]]
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        require(calls == results, "every call has its result")
        thinks = (body.get("thinking") or {}).get("type") == "enabled"
        if thinks and results:
            require(any(block["type"] == "thinking" and block["signature"] == SIGNATURE for block in blocks), "the thought comes back signed")
        names = [tool["name"] for tool in body.get("tools") or []]
        # The words of cachalot's translation of `json_object`, which this API does not have.
        wants_json = "format" in (body.get("output_config") or {}) or "Respond with one JSON object." in text_of(body.get("system"))
        texts = [text_of(block.get("content")) for block in blocks if block["type"] == "tool_result"]
        thoughts, (text, calls) = thoughts_of(thinks), self.choose(Asked(names, texts, wants_json))
        usage = {"input_tokens": 8, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0, "output_tokens": 7}
        content = []
        if thoughts:
            content.append({"type": "thinking", "thinking": "".join(thoughts), "signature": SIGNATURE})
        if text:
            content.append({"type": "text", "text": "".join(text)})
        content += [{"type": "tool_use", "id": name, "name": function, "input": arguments} for name, function, arguments in calls]
        reason = "tool_use" if calls else "end_turn"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage}
        if not body.get("stream"):
            return message
        start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events = [{"type": "message_start", "message": start}, {"type": "ping"}]
        for index, block in enumerate(content):
            if block["type"] == "thinking":
                empty, deltas = {"type": "thinking", "thinking": "", "signature": ""}, [{"type": "thinking_delta", "thinking": piece} for piece in thoughts] + [{"type": "signature_delta", "signature": SIGNATURE}]
            elif block["type"] == "text":
                empty, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in text]
            else:
                arguments = json.dumps(block["input"])
                empty, deltas = {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in ("", arguments[:6], arguments[6:])]
            events.append({"type": "content_block_start", "index": index, "content_block": empty})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        events.append({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 7}})
        events.append({"type": "message_stop"})
        return [(event["type"], event) for event in events]


class Contents:
    """Gemini's API."""

    def __init__(self, choose=choose_reply):
        self.choose = choose

    def answer(self, path, body):
        parts = [part for content in body["contents"] for part in content["parts"]]
        calls = [part for part in parts if "functionCall" in part]
        results = [part for part in parts if "functionResponse" in part]
        require(len(calls) == len(results), "every call has its result")
        thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
        # Protobuf's JSON allows both spellings; the Python client writes the second.
        thinks = thinking.get("includeThoughts", thinking.get("include_thoughts", False))
        if thinks and calls:
            require(calls[0].get("thoughtSignature") == SIGNATURE, "the first call comes back signed")
        names = [function["name"] for tool in body.get("tools") or [] for function in tool.get("functionDeclarations", [])]
        wants_json = body.get("generationConfig", {}).get("responseMimeType") == "application/json"
        responses = [part["functionResponse"]["response"] for part in results]
        texts = [response.get("result") or json.dumps(response) for response in responses]
        thoughts, (text, calls) = thoughts_of(thinks), self.choose(Asked(names, texts, wants_json))
        pieces = [{"text": piece, "thought": True} for piece in thoughts] + [{"text": piece} for piece in text]
        for index, (_, function, arguments) in enumerate(calls):
            signature = {"thoughtSignature": SIGNATURE} if thinks and index == 0 else {}
            pieces.append({"functionCall": {"name": function, "args": arguments}, **signature})
        counts = {"promptTokenCount": 11, "cachedContentTokenCount": 3, "candidatesTokenCount": 3 if thinks else 7, "totalTokenCount": 18, **({"thoughtsTokenCount": 4} if thinks else {})}

        response_id = f"r{next(RESPONSE_NUMBERS)}"

        def response(parts, **more):
            return {"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, **more}], "modelVersion": "m", "responseId": response_id}

        if ":generateContent" in path:
            return {**response(pieces, finishReason="STOP"), "usageMetadata": counts}
        require(":streamGenerateContent?alt=sse" in path, path)
        return [(None, response([piece])) for piece in pieces] + [(None, {**response([], finishReason="STOP"), "usageMetadata": counts})]


DIALECTS = {"openai": Completions(True), "deepseek": Completions(False), "anthropic": Messages(), "gemini": Contents()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dialects = DIALECTS

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        dialect = self.dialects[self.path.split("/")[1]]
        try:
            answer = dialect.answer(self.path, body)
        except (BadRequest, KeyError) as refused:
            return self.send_json(400, {"error": {"message": f"{type(refused).__name__}: {refused}", "type": "invalid_request_error"}})
        if isinstance(answer, dict):
            return self.send_json(200, answer)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, data in answer:
            data = data if isinstance(data, str) else json.dumps(data)
            event = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event.encode()))
        self.wfile.write(b"0\r\n\r\n")

    def send_json(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
