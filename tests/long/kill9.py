#!/usr/bin/env python3
"""Kills the server with SIGKILL at random moments while it writes its prefix cache to disk, and starts it again.

    cargo build --release && python3 tests/long/kill9.py [KILLS]

Checks after every restart that answers at temperature 0 equal those of a server without the cache, and that the folder has no unfinished
files and at most the allowed bytes. Exits with 1 at the first failure. KILLS is 100 by default."""

import json
import os
import random
import sys
import tempfile
import threading
import time
import urllib.request

from server import start_with_model

MAX_BYTES = 24 << 20


def prompt(seed):
    return " ".join(f"Story {seed}: on day {i} the whale went down." for i in range(20 + seed % 7 * 15))


def send_chat(url, seed):
    """The answer and the number of cached tokens, or None if the server died."""
    body = {
        "model": "deepseek-chat", "messages": [{"role": "user", "content": prompt(seed)}], "max_tokens": 6, "temperature": 0
    }
    request = urllib.request.Request(
        url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        reply = json.load(urllib.request.urlopen(request))
    except OSError:
        return None
    except ValueError:
        return None
    return reply["choices"][0]["message"]["content"], reply["usage"]["prompt_cache_hit_tokens"]


def check_folder(folder):
    names = [name for name in os.listdir(folder) if name != "lock"]
    unfinished = [name for name in names if not name.endswith(".page")]
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    if unfinished or size > MAX_BYTES:
        sys.exit(f"not ok the folder holds {size} bytes of {MAX_BYTES} and unfinished files {unfinished}")
    return len(names)


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    chance = random.Random(7)
    server, url = start_with_model("--disk-cache", "off")
    expected = {seed: send_chat(url, seed)[0] for seed in range(40)}
    server.kill()
    server.wait()
    found = checked = 0
    with tempfile.TemporaryDirectory() as folder:
        for kill in range(kills):
            server, url = start_with_model("--disk-cache", folder, "--disk-cache-bytes", str(MAX_BYTES))
            pages = check_folder(folder)
            for seed in chance.sample(range(40), 2):
                answer, hit = send_chat(url, seed)
                if answer != expected[seed]:
                    sys.exit(f"not ok after kill {kill} the answer to prompt {seed} is {answer!r}, not {expected[seed]!r}")
                checked += 1
                found += hit > 0
            clients = [
                threading.Thread(target=lambda seed: [send_chat(url, seed + i) for i in range(40 - seed)], args=(seed,))
                for seed in chance.sample(range(30), 4)
            ]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0.0, 0.6))
            server.kill()
            server.wait()
            for client in clients:
                client.join()
    print(f"ok {kills} kills, {checked} answers right, {found} of them with a hit; {pages} pages at the end")
    if kills >= 10 and found == 0:
        sys.exit("not ok no request ever hit the disk cache")


main()
