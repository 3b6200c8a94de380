"""Shared by long tests: one chat request over HTTP, streaming or not, and values of /metrics. Standard library only."""

import http.client
import json
import urllib.parse
import urllib.request


def connect(url, timeout=300):
    parts = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)


def complete(url, body):
    """(status, reply) of a non-streaming request."""
    c = connect(url)
    try:
        c.request("POST", "/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read())
    finally:
        c.close()


def stream(url, body, disconnect_after=None):
    """(status, answer, finished) of a streaming request.

    The answer is (content, reasoning, finish_reason), or the error object of a refused request. The connection is closed after
    `disconnect_after` chunks with text; `finished` is true if the answer ended before.
    """
    c = connect(url)
    try:
        c.request("POST", "/chat/completions", json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
        r = c.getresponse()
        if r.status != 200:
            return r.status, json.loads(r.read()), True
        content = reasoning = ""
        finish, seen, done = None, 0, False
        for line in r:
            line = line.decode().rstrip("\r\n")
            if not line.startswith("data: "):
                if line and not line.startswith(":"):
                    raise ValueError(f"not an event: {line[:200]!r}")
                continue
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line[len("data: "):])
            if "error" in event:
                raise ValueError(f"an error in the stream: {event['error']}")
            for choice in event["choices"]:
                text, thought = choice["delta"].get("content") or "", choice["delta"].get("reasoning_content") or ""
                content, reasoning = content + text, reasoning + thought
                seen += bool(text or thought)
                finish = choice["finish_reason"] or finish
            if disconnect_after is not None and seen >= disconnect_after and not finish:
                return 200, (content, reasoning, None), False
        if not done or not finish:
            raise ValueError(f"the stream ended without {'a finish reason' if done else '[DONE]'} after {seen} chunks")
        return 200, (content, reasoning, finish), True
    finally:
        c.close()


def metric(url, name):
    """The value of a metric without labels, or the sum over its labels."""
    with urllib.request.urlopen(url + "/metrics", timeout=30) as r:
        lines = [x for x in r.read().decode().splitlines() if x.split("{")[0].split(" ")[0] == name]
    if not lines:
        raise KeyError(f"/metrics has no {name}")
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines)
