"""Runs checks and prints one line for each: `ok NAME` or `not ok NAME: reason`. A check is a function whose docstring is its name."""

import asyncio
import inspect
import os
import sys
import traceback

URL = os.environ.get("CACHALOT_URL", "http://127.0.0.1:8000").rstrip("/")


def run(title, checks):
    """Runs all checks, in order, and exits with 1 if one failed."""
    failed = 0
    for check in checks:
        name = f"{title}: {inspect.getdoc(check)}"
        try:
            asyncio.run(check()) if inspect.iscoroutinefunction(check) else check()
            print("ok", name, flush=True)
        except Exception as e:
            failed += 1
            place = traceback.extract_tb(e.__traceback__)[-1]
            print(f"not ok {name}: {type(e).__name__} {e} (line {place.lineno}: {place.line})".replace("\n", " "), flush=True)
    sys.exit(1 if failed else 0)
