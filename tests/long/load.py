"""What the long tests share: one chat request over HTTP, streamed or not, and the numbers of /metrics. Standard library only."""

import http.client
import json
import urllib.parse
import urllib.request


def connect(url, timeout=300):
    parts = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)


def whole(url, body):
    """(status, reply) of a request that is not streamed."""
    c = connect(url)
    try:
        c.request("POST", "/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read())
    finally:
        c.close()


def stream(url, body, hang_up_after=None):
    """(status, answer, finished) of a streamed request.

    The answer is (content, reasoning, finish_reason); of a refused request it is the error object. After `hang_up_after` chunks with
    text the connection is closed, and `finished` tells whether the answer had ended before that.
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
                said, thought = choice["delta"].get("content") or "", choice["delta"].get("reasoning_content") or ""
                content, reasoning = content + said, reasoning + thought
                seen += bool(said or thought)
                finish = choice["finish_reason"] or finish
            if hang_up_after is not None and seen >= hang_up_after and not finish:
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
