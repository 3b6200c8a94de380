"""Assertions of the abuse test: on ordinary traffic, usage records, the log, and starts."""

import asyncio
import collections
import math
import re

import store_audit
import background_traffic
from attacks import starts
from server import NotStarted

# Maximum increase of the 99th percentile, in seconds.
MAX_SLOWDOWN_S = 1.0
# Ordinary keys and their projects; the attackers' keys and their budgets in dollars.
KEY_PROJECTS = {"alice": "house", "bob": "house", "carol": "yard", "dave": "yard"}
BUDGETS = {"mallory": "1000", "mordred": "1000", "morgan": "5", "mime": "0.001"}
# Maximum cost of a response of the hostile provider, in nano-dollars: 64 MiB of prompt, and chunks of the response.
MAX_COST = (64 << 20) // 3 * background_traffic.INPUT + (1 << 20) * background_traffic.OUTPUT
# Maximum cost of a response with absurd counts: the estimate of a short prompt, and twice the maximum and 4,096 tokens.
ESTIMATED = 1000 * background_traffic.INPUT + (2 * 64 + 4096) * background_traffic.OUTPUT
# Behaviours of the hostile provider that are not a response of the API.
UNBILLED_BEHAVIOURS = {"html", "html-as-json", "empty", "text", "echo", "never", "slow-head", "informational", "endless-header", "endless-headers"}


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, true, what):
        self.passed, self.failed = self.passed + bool(true), self.failed + (not true)
        print("ok    " if true else "not ok", what, flush=True)


def check_traffic(check, run, beside_loops, beside_attacks):
    for name, results in (("the busy loops", beside_loops), ("the attacks", beside_attacks)):
        faults = [result for result in results if result.fault]
        kinds = collections.Counter(result.kind for result in faults)
        check(not faults and results, f"beside {name}, {len(results)} ordinary requests: {len(faults)} failed {dict(kinds)} {[fault.fault for fault in faults[:3]]}")
    quiet, loud = background_traffic.slowest(beside_loops), background_traffic.slowest(beside_attacks)
    for name in quiet:
        check(loud.get(name, math.inf) <= quiet[name] + MAX_SLOWDOWN_S, f"{name[1]} of {name[0]} at the 99th percentile: {quiet[name]:.3f} s beside the busy loops, {loud.get(name, math.inf):.3f} s beside the attacks")


def check_records(check, run):
    """Checks every record and every sum."""
    records = store_audit.records(run.store)
    of = lambda keys: [record for record in records if record.key in keys]  # noqa: E731
    wanted = collections.Counter([*run.filled, *(result.record for result in run.results if result.record)])
    found = collections.Counter((r.key, r.provider, r.prompt, r.completion, r.cost) for r in of(KEY_PROJECTS) if not r.estimated)
    lost, wrong = wanted - found, found - wanted
    # A failed request may have a record; its failure is reported above.
    excused = sum(result.record is None for result in run.results)
    check(not lost, f"each of {wanted.total()} ordinary answers has a record at its exact price ({lost.total()} are not: {list(lost)[:3]})")
    check(wrong.total() <= excused, f"ordinary keys have no other records ({wrong.total()} records: {list(wrong)[:3]})")
    estimated = [record for record in of(KEY_PROJECTS) if record.estimated]
    check(len(estimated) <= excused, f"none of them is estimated ({len(estimated)} are: {estimated[:2]})")
    least = lambda record: -MAX_COST if record.outcome == "refunded" else 0  # noqa: E731
    odd = [record for record in of(BUDGETS) if not least(record) <= record.cost <= MAX_COST or min(record.prompt, record.cached, record.completion) < 0 or max(record.prompt, record.completion) > 1 << 25]
    check(not odd, f"all records of the attackers have plausible amounts ({len(odd)} do not: {odd[:2]})")
    behaviour = lambda record: record.model.rsplit("/", 1)[-1]  # noqa: E731
    charged = [record for record in of(BUDGETS) if behaviour(record) in UNBILLED_BEHAVIOURS and record.cost]
    check(not charged, f"responses that are not of the API cost nothing ({len(charged)} do: {charged[:2]})")
    absurd = [record for record in of(BUDGETS) if behaviour(record) == "usage"]
    dear = [record for record in absurd if record.cost > ESTIMATED]
    check(not dear, f"{len(absurd)} answers with absurd counts are settled, none for more than an estimate ({dear[:2]})")
    unbalanced = store_audit.unbalanced(run.store)
    check(not unbalanced, f"keys and projects have spent the sum of their records {unbalanced[:3]}")
    spent, _ = store_audit.spent(run.store)
    # Only tokens may overdraw a budget, by the last requests before its end.
    check(spent["morgan"] <= 5e9 + 1e9, f"a key of $5 has spent ${spent['morgan'] / 1e9:.2f}")


def check_log(check, run):
    with open(run.server.log, errors="replace") as file:
        lines = file.read().split("\n")
    disclosed = [name for name, secret in [*run.secrets.items(), *run.keys.items(), ("admin", run.admin)] if any(secret in line for line in lines)]
    check(not disclosed, f"the log contains no secret {disclosed}")
    panics = [line for line in lines if "panicked" in line]
    check(not panics, f"nothing panicked {panics[:2]}")
    longest = max(lines, key=len)
    check(len(longest) <= 8192, f"no line of the log is longer than 8 KiB, the longest has {len(longest)} bytes: {longest[:200]!r}")
    controls = [line for line in lines if re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\u202a-\u202e\u2066-\u2069]", line)]
    check(not controls, f"no line of the log has control or bidi characters {[line[:200] for line in controls[:2]]}")


def check_starts(check, server):
    async def run_checks():
        async for true, what in starts.check_starts(server):
            check(true, what)

    try:
        asyncio.run(run_checks())
    except NotStarted as why:
        check(False, f"the server does not start again: {why}")
