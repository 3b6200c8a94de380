#!/usr/bin/env python3
"""Time to first token of the longest conversation of the fixture model: cold, from memory, and after a restart from the disk cache.

    cargo build --release && python3 tests/long/disk_cache_restart.py

Prints one line each, and the time after the restart as a share of the cold time. Exits with 1 if that is more than 5 %, or if an answer or a
count differs."""

import json
import signal
import sys
import tempfile
import time
import urllib.request

from server import start_with_model

# Words that the small tokenizer has, numbered so that no two parts are equal.
PROMPT = " ".join(f"On day {i} the ship went further down." for i in range(700))


def stop(server):
    server.send_signal(signal.SIGTERM)
    server.wait()


def send_chat(url, prompt):
    body = {
        "model": "deepseek-chat", "messages": [{"role": "user", "content": prompt}], "max_tokens": 16, "temperature": 0,
        "stream": True, "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    begin, first, text, usage = time.monotonic(), None, "", None
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        return None, error.read().decode(), None
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            if first is None:
                first = time.monotonic() - begin
            text += choice["delta"].get("content") or ""
    return first, text, usage


def main():
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_with_model("--disk-cache", folder)
        send_chat(url, "Hello")  # the one-time costs of the first request
        prompt = PROMPT
        cold = send_chat(url, prompt)
        while cold[0] is None and "maximum context length" in cold[1]:
            prompt = prompt[: len(prompt) * 15 // 16]
            cold = send_chat(url, prompt)
        warm = send_chat(url, prompt)
        stop(server)
        server, url = start_with_model("--disk-cache", folder)
        send_chat(url, "Hello")
        again = send_chat(url, prompt)
        stop(server)
    for name, (first, _, usage) in [("cold", cold), ("from memory", warm), ("after a restart", again)]:
        counts = f"{usage['prompt_cache_hit_tokens']} of {usage['prompt_tokens']} tokens found"
        print(f"{name:16} {first * 1000:9.1f} ms to the first token, {counts}")
    share = again[0] / cold[0]
    print(f"after a restart: {share:.2%} of the cold time")
    n = cold[2]["prompt_tokens"]
    hit = (n - 1) // 64 * 64
    right = cold[1] == warm[1] == again[1] and [a[2]["prompt_cache_hit_tokens"] for a in (cold, warm, again)] == [0, hit, hit]
    sys.exit(0 if right and share <= 0.05 and n >= 7000 else 1)


main()
