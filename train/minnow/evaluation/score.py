"""`cachalot score` on token rows: the program's own arithmetic measures checkpoints of every weight
format, dense and sparse."""

import json
import os
import subprocess
import tempfile

# As `serve` computes by default.
AS_SERVED = ["--compute", "bf16", "--cache", "bf16"]


def score(binary, model, rows, attention, more=(), threads=None):
    """Yields, for each row, [(most likely next token, log-probability of the row's own next token)]
    of all positions but the last."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump([list(map(int, r)) for r in rows], f)
        f.flush()
        command = [os.path.abspath(binary), "score", "--model", os.path.abspath(model), "--tokens", f.name, "--top", "1", "--attention", attention, *(more or AS_SERVED)]
        with subprocess.Popen(command + (["--threads", str(threads)] if threads else []), stdout=subprocess.PIPE, text=True) as p:
            done, out = 0, []
            for line in p.stdout:
                x = json.loads(line)
                if "next" not in x:  # the last position of the row
                    if len(x["top"]) and x["position"] + 1 != len(rows[done]):
                        raise SystemExit(f"{binary} prints no `next` log-probabilities: it is older than this script")
                    yield out
                    done, out = done + 1, []
                else:
                    out.append((x["top"][0][0], x["next"]))
        if p.returncode or done != len(rows):
            raise SystemExit(f"{' '.join(command)} failed")


def version(binary):
    """The version that the program prints."""
    return subprocess.run([os.path.abspath(binary), "--version"], capture_output=True, text=True, check=True).stdout.strip()
