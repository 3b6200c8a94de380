"""Mixed load for ten minutes; fails if the server's resident memory grows after the first minute, or a response is malformed.

    python3 tests/long/soak.py --pid PID [--url http://127.0.0.1:8000] [--minutes 10] [--clients 12] [--grow-mib 24]

The load: streaming and non-streaming requests, short and long prompts, with and without thinking, invalid requests, and clients that disconnect. PID is
the server's process on this machine (Linux: /proc). Memory is sampled every five seconds.
"""

import argparse
import collections
import random
import statistics
import sys
import threading
import time

import chat_requests

MODELS = ["deepseek-chat", "deepseek-reasoner", "deepseek-v3.2-exp", "DeepSeek-V3.2-Exp-thinking", "DeepSeek-V3.2-Exp-nothinking"]
FAULTS = [({"model": "no-such-model"}, "Model Not Exist"), ({"temperature": 9}, "Invalid temperature value"), ({"messages": []}, "Invalid 'messages'")]
WORDS = "the fox river lamp Anna blue seven garden meeting price under morning quiet list 42 café 北 why".split()


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS:")) / 1024


def request(r):
    prompt = " ".join(r.choice(WORDS) for _ in range(r.choice([3, 10, 40, 200, 1000])))
    return {"model": r.choice(MODELS), "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": prompt}],
            "max_tokens": r.choice([1, 16, 64, 256]), "temperature": r.choice([0, 0.7, 2.0]), "seed": r.randrange(1 << 30)}


class Client(threading.Thread):
    """One client, sending request after request until the end."""

    def __init__(self, url, seed, until, counts, faults):
        super().__init__(daemon=True)
        self.url, self.r, self.until, self.counts, self.faults = url, random.Random(seed), until, counts, faults

    def run(self):
        while time.time() < self.until:
            try:
                self.counts[self.send_request()] += 1
            except Exception as e:
                self.faults.append(f"{type(e).__name__}: {e}")
                time.sleep(0.5)  # does not flood a dead server
            if self.r.random() < 0.1:
                time.sleep(self.r.random())

    def send_request(self):
        """Sends one request and returns its outcome."""
        body, kind = request(self.r), self.r.random()
        if kind < 0.05:
            change, text = self.r.choice(FAULTS)
            status, reply = chat_requests.complete(self.url, {**body, **change})
            if status != 400 or text not in reply["error"]["message"]:
                raise ValueError(f"status {status} instead of `{text}`: {reply}")
            return "refused"
        if kind < 0.3:
            status, reply = chat_requests.complete(self.url, body)
            if status == 200 and not (reply["choices"][0]["finish_reason"] and 1 <= reply["usage"]["completion_tokens"] <= body["max_tokens"]):
                raise ValueError(f"malformed reply: {reply}")
            finished = True
        else:
            status, reply, finished = chat_requests.stream(self.url, body, disconnect_after=self.r.randrange(20) if self.r.random() < 0.3 else None)
        if status == 503:  # the queue is full
            return "busy"
        if status != 200:
            raise ValueError(f"status {status}: {reply}")
        return "answered" if finished else "disconnected"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--pid", type=int, required=True)
    ap.add_argument("--url", default="http://127.0.0.1:8000")
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--clients", type=int, default=12)
    ap.add_argument("--grow-mib", type=float, default=24, help="growth allowed after the first minute")
    a = ap.parse_args()
    if a.minutes < 2.5:
        ap.error("at least 2.5 minutes are needed: one to warm up, one to compare with, and a rest")
    start = time.time()
    counts, faults = collections.Counter(), []
    clients = [Client(a.url, seed, start + a.minutes * 60, counts, faults) for seed in range(a.clients)]
    for c in clients:
        c.start()
    samples = []  # (seconds, MiB)
    while any(c.is_alive() for c in clients):
        samples.append((time.time() - start, resident_mib(a.pid)))
        print(f"{samples[-1][0]:6.0f} s  {samples[-1][1]:8.1f} MiB  {dict(counts)}  {len(faults)} faults", flush=True)
        time.sleep(5)
    second = [m for t, m in samples if 60 <= t < 120]
    last = [m for t, m in samples if t >= samples[-1][0] - 60]
    growth = statistics.median(last) - statistics.median(second)
    peak = max(m for t, m in samples if t >= 60) - statistics.median(second)
    checks = {
        f"resident memory: {growth:+.1f} MiB from the second minute to the last, {peak:+.1f} at the peak, allowed {a.grow_mib:g}": max(growth, peak) <= a.grow_mib,
        f"no response was malformed ({len(faults)} were; the first: {faults[:1]})": not faults,
        f"each kind of request happened: {dict(counts)}": all(counts[k] for k in ("answered", "disconnected", "refused")),
    }
    for name, ok in checks.items():
        print("ok" if ok else "not ok", name)
    print(f"{sum(checks.values())} passed, {len(checks) - sum(checks.values())} failed")
    sys.exit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
