"""32 concurrent streams, each equal to the same request alone; then again while a third of the clients disconnect midway.

    python3 tests/long/streams32.py [--url http://127.0.0.1:8000] [--tokens 256]

Checks after each round that the number of cache pages in use (the gauge cachalot_cache_pages_used of /metrics) has returned to its old
value. The test must be the only client of the server.
"""

import argparse
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import chat_requests

N = 32
PAGES = "cachalot_cache_pages_used"


def request(i, tokens):
    """Different prompts, lengths and modes; at this temperature an answer rarely ends before its max_tokens."""
    return {"model": "deepseek-chat" if i % 4 else "deepseek-reasoner", "messages": [{"role": "user", "content": f"Story number {i}: " + "once upon a time " * (i * 5)}],
            "max_tokens": tokens + i, "temperature": 2.0, "seed": 1000 + i}


class PageMonitor:
    """Monitors the pages in use during a round."""

    def __init__(self, url):
        self.url, self.before, self.most, self.over = url, chat_requests.metric(url, PAGES), 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(0.02):
            self.most = max(self.most, chat_requests.metric(self.url, PAGES))

    def pages_released(self):
        """Stops monitoring; true if the number of pages in use returns to its old value within five seconds."""
        self.over.set()
        self.thread.join()
        deadline = time.time() + 5
        while (now := chat_requests.metric(self.url, PAGES)) > self.before and time.time() < deadline:
            time.sleep(0.05)
        print(f"pages in use: {self.before:.0f} before, {self.most:.0f} at most, {now:.0f} after")
        return now <= self.before < self.most


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--url", default="http://127.0.0.1:8000")
    ap.add_argument("--tokens", type=int, default=256, help="max_tokens of the shortest stream")
    a = ap.parse_args()
    passed = failed = 0

    def check(ok, name):
        nonlocal passed, failed
        passed, failed = passed + bool(ok), failed + (not ok)
        print("ok" if ok else "not ok", name, flush=True)

    start = time.time()
    alone = [chat_requests.stream(a.url, request(i, a.tokens)) for i in range(N)]
    check(all(status == 200 for status, _, _ in alone), f"{N} requests one after the other are answered ({time.time() - start:.1f} s)")

    for title, victims in (("together", ()), ("while a third disconnects", range(0, N, 3))):
        pages, start, ends = PageMonitor(a.url), time.time(), [0.0] * N

        def one(i):
            got = chat_requests.stream(a.url, request(i, a.tokens), disconnect_after=5 + i if i in victims else None)
            ends[i] = time.time() - start
            return got
        with ThreadPoolExecutor(N) as pool:
            together = list(pool.map(one, range(N)))
        survivors = [i for i in range(N) if i not in victims]
        other = [i for i in survivors if together[i] != alone[i]]
        check(not other, f"{title}: {len(survivors)} streams equal the requests alone" + (f", but for {other}" if other else f" ({min(ends):.1f} to {max(ends):.1f} s)"))
        if victims:
            midway = sum(not together[i][2] for i in victims)
            check(midway > len(victims) / 2, f"{title}: {midway} of {len(victims)} disconnected before their end")
        check(pages.pages_released(), f"{title}: their cache pages are free again")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
