"""What has to hold after the ordinary traffic, of the books, of the log, and of starts."""

import asyncio
import collections
import math
import re

import ledger
import ordinary
from attacks import starts
from server import NotStarted

# How much longer the slowest hundredth may take, in seconds.
SLOWER = 1.0
# Ordinary keys and their projects; attackers' keys, and what they may spend.
HONEST = {"alice": "house", "bob": "house", "carol": "yard", "dave": "yard"}
BUDGETS = {"mallory": "1000", "mordred": "1000", "morgan": "5", "mime": "0.001"}
# Nobody is charged more than this for an answer of the hostile provider, in nano-dollars: 64 MiB of prompt, and pieces of its answer.
DEAREST = (64 << 20) // 3 * ordinary.INPUT + (1 << 20) * ordinary.OUTPUT
# For an answer with absurd counts: what is estimated of a short prompt, and twice the maximum and 4,096 tokens.
ESTIMATED = 1000 * ordinary.INPUT + (2 * 64 + 4096) * ordinary.OUTPUT
# What the hostile provider does that is no answer.
FREE = {"html", "html-as-json", "empty", "text", "quote", "never", "slow-head", "informational", "endless-header", "endless-headers"}


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, true, what):
        self.passed, self.failed = self.passed + bool(true), self.failed + (not true)
        print("ok    " if true else "not ok", what, flush=True)


def judge_traffic(check, run, beside_loops, beside_attacks):
    for name, results in (("the busy loops", beside_loops), ("the attacks", beside_attacks)):
        faults = [result for result in results if result.fault]
        kinds = collections.Counter(result.kind for result in faults)
        check(not faults and results, f"beside {name}, {len(results)} ordinary requests: {len(faults)} failed {dict(kinds)} {[fault.fault for fault in faults[:3]]}")
    quiet, loud = ordinary.slowest(beside_loops), ordinary.slowest(beside_attacks)
    for name in quiet:
        check(loud.get(name, math.inf) <= quiet[name] + SLOWER, f"{name[1]} of {name[0]} at the 99th percentile: {quiet[name]:.3f} s beside the busy loops, {loud.get(name, math.inf):.3f} s beside the attacks")


def judge_books(check, run):
    """Every record, and every sum."""
    records = ledger.records(run.store)
    of = lambda keys: [record for record in records if record.key in keys]  # noqa: E731
    wanted = collections.Counter([*run.filled, *(result.books for result in run.results if result.books)])
    found = collections.Counter((r.key, r.provider, r.prompt, r.completion, r.cost) for r in of(HONEST) if not r.estimated)
    lost, wrong = wanted - found, found - wanted
    # A request that failed may have been booked, rightly or not: it has been told above.
    excused = sum(result.books is None for result in run.results)
    check(not lost, f"each of {wanted.total()} ordinary answers is booked at its exact price ({lost.total()} are not: {list(lost)[:3]})")
    check(wrong.total() <= excused, f"nothing else is booked to ordinary keys ({wrong.total()} records: {list(wrong)[:3]})")
    estimated = [record for record in of(HONEST) if record.estimated]
    check(len(estimated) <= excused, f"none of them is estimated ({len(estimated)} are: {estimated[:2]})")
    least = lambda record: -DEAREST if record.outcome == "refunded" else 0  # noqa: E731
    odd = [record for record in of(BUDGETS) if not least(record) <= record.cost <= DEAREST or min(record.prompt, record.cached, record.completion) < 0 or max(record.prompt, record.completion) > 1 << 25]
    check(not odd, f"no record of the attackers' has an amount that cannot be ({len(odd)} have: {odd[:2]})")
    behaviour = lambda record: record.model.rsplit("/", 1)[-1]  # noqa: E731
    charged = [record for record in of(BUDGETS) if behaviour(record) in FREE and record.cost]
    check(not charged, f"what is no answer costs nothing ({len(charged)} do: {charged[:2]})")
    absurd = [record for record in of(BUDGETS) if behaviour(record) == "usage"]
    dear = [record for record in absurd if record.cost > ESTIMATED]
    check(not dear, f"{len(absurd)} answers with absurd counts are settled, none for more than an estimate ({dear[:2]})")
    differences = ledger.differences(run.store)
    check(not differences, f"keys and projects have spent the sum of their records {differences[:3]}")
    spent, _ = ledger.spent(run.store)
    # Only tokens may go into debt, by the last requests before the end.
    check(spent["morgan"] <= 5e9 + 1e9, f"a key of $5 has spent ${spent['morgan'] / 1e9:.2f}")


def judge_log(check, run):
    with open(run.server.log, errors="replace") as file:
        lines = file.read().split("\n")
    told = [name for name, secret in [*run.secrets.items(), *run.keys.items(), ("admin", run.admin)] if any(secret in line for line in lines)]
    check(not told, f"the log tells no secret {told}")
    panics = [line for line in lines if "panicked" in line]
    check(not panics, f"nothing panicked {panics[:2]}")
    longest = max(lines, key=len)
    check(len(longest) <= 8192, f"no line of the log is longer than 8 KiB, the longest has {len(longest)} bytes: {longest[:200]!r}")
    controls = [line for line in lines if re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\u202a-\u202e\u2066-\u2069]", line)]
    check(not controls, f"no line of the log has control or bidi characters {[line[:200] for line in controls[:2]]}")


def judge_starts(check, server):
    async def judge_all():
        async for true, what in starts.judge(server):
            check(true, what)

    try:
        asyncio.run(judge_all())
    except NotStarted as why:
        check(False, f"the server does not start again: {why}")
