#!/usr/bin/env python3
"""The cost of constrained decoding: milliseconds per token with and without it, in turn, by one server.

    cargo build --release && python3 tests/long/constrained_decoding_cost.py [ROUNDS] [--url URL]

Prints the medians and their ratio for free text, JSON mode and a schema, one stream at a time."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

BINARY = os.path.join(os.path.dirname(__file__), "../../target/release/cachalot")
SCHEMA = {
    "type": "object",
    "properties": {"notes": {"type": "array", "items": {"type": "object", "properties": {
        "title": {"type": "string"}, "kind": {"enum": ["a", "b", "c"]}, "size": {"type": "integer", "minimum": 0, "maximum": 999}},
        "required": ["title", "kind", "size"], "additionalProperties": False}}},
    "required": ["notes"], "additionalProperties": False,
}
# Free text after the same prompt: V3.2's encoding writes the schema of the answer into the prompt.
SCHEMA_MESSAGE = {"role": "system", "content": json.dumps(SCHEMA)}
RESPONSE_FORMATS = {
    "free text": None,
    "json_object": {"type": "json_object"},
    "json_schema": {"type": "json_schema", "json_schema": {"name": "notes", "strict": True, "schema": SCHEMA}},
}


def per_token(url, response_format, seed):
    """Median milliseconds between two chunks of one stream, without the first few."""
    body = {
        "model": "deepseek-chat", "messages": [{"role": "user", "content": "Write notes on the sea, as JSON. " * 20}],
        "max_tokens": 300, "temperature": 1, "seed": seed, "stream": True,
    }
    if response_format:
        body["response_format"] = response_format
    else:
        body["messages"].insert(0, SCHEMA_MESSAGE)
    request = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    times = []
    for line in urllib.request.urlopen(request):
        if line.startswith(b"data: {"):
            times.append(time.monotonic())
    gaps = [1000 * (b - a) for a, b in zip(times[4:-2], times[5:-1])]
    return gaps


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 20
    server = None
    if "--url" in sys.argv:
        url = sys.argv[sys.argv.index("--url") + 1]
    else:
        server = subprocess.Popen([BINARY, "serve", "--model", "fixture", "--listen", "127.0.0.1:0", "--disk-cache", "off"], stderr=subprocess.PIPE, text=True)
        for line in server.stderr:
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                url = re.sub(r"\x1b\[[0-9;]*m", "", found.group(1))
                break
        time.sleep(1)
    gaps = {name: [] for name in RESPONSE_FORMATS}
    for seed in range(rounds):
        for name, response_format in RESPONSE_FORMATS.items():
            gaps[name] += per_token(url, response_format, seed)
    if server:
        server.kill()
    free = statistics.median(gaps["free text"])
    for name, all_gaps in gaps.items():
        median = statistics.median(all_gaps)
        print(f"{name:12} {median:7.3f} ms a token (median of {len(all_gaps)}), {median / free - 1:+.1%}")


main()
