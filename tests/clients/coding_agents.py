"""Claude Code and Codex as programs, against the local engine and against providers elsewhere, one of each dialect (fake_providers.py).

    python3 coding_agents.py CACHALOT NODE_MODULES

They run in a network namespace with nothing but loopback, with an empty home and without telemetry. Where the system allows no namespaces, the
checks are skipped with a line that says so."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import ThreadingHTTPServer

import checks
import fake_providers

IN_NAMESPACE = "CACHALOT_CODING_AGENTS_NAMESPACE"
# How a fake provider calls a tool of this name, once; then it repeats the result.
CALLS = {
    "apply_patch": {"input": "*** Begin Patch\n*** Add File: made.txt\n+a whale\n*** End Patch\n"},
    "exec_command": {"cmd": "echo a whale > made.txt && echo patched"},
    "Bash": {"command": "echo a whale > made.txt && echo patched", "description": "Writes a file"},
}


# The models of the providers, by dialect.
MODELS = {"openai": "gpt-5.5", "deepseek": "whale-elsewhere", "anthropic": "claude-elsewhere", "gemini": "gemini-elsewhere"}


def choose_reply(asked):
    """Calls the first tool that is known here, and then says what came back."""
    name = next((name for name in CALLS if name in asked.tools), None)
    if name and not asked.results:
        return [], [("call_1", name, CALLS[name])]
    return [f"It said: {asked.results[-1]}" if asked.results else "Hello from elsewhere."], []


class Provider(fake_providers.Handler):
    """One provider of each dialect."""

    dialects = {
        "openai": fake_providers.Completions(True, choose_reply),
        "deepseek": fake_providers.Completions(False, choose_reply),
        "anthropic": fake_providers.Messages(choose_reply),
        "gemini": fake_providers.Contents(choose_reply),
    }


class Folder:
    """The server, and the folders that an agent sees."""

    def __init__(self, cachalot, modules):
        self.bin = pathlib.Path(modules).resolve() / ".bin"
        self.root = pathlib.Path(tempfile.mkdtemp())
        provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        config = self.root / "cachalot.toml"
        address = f"http://127.0.0.1:{provider.server_address[1]}"
        entry = '[[providers]]\nname = "fake-{0}"\nbase_url = "{1}/{0}/v1"\ndialect = "{0}"\nprivate = true\nmodels = ["{2}"]\n'
        config.write_text("".join(entry.format(dialect, address, model) for dialect, model in MODELS.items()))
        self.log = open(self.root / "log", "w+")
        command = [cachalot, "serve", "--model", "fixture", "--config", config, "--store", "off", "--listen", "127.0.0.1:0", "--seed", "1"]
        self.server = subprocess.Popen(command, stderr=self.log, env=self.environment())
        for _ in range(600):
            found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", (self.root / "log").read_text())
            if found and self.is_ready(found[1]):
                self.url = found[1]
                return
            time.sleep(0.1)
        raise RuntimeError((self.root / "log").read_text())

    @staticmethod
    def is_ready(url):
        try:
            return urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200
        except OSError:
            return False

    def environment(self, **more):
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), **more}

    def run(self, command, **environment):
        """Runs an agent in a new folder. Returns its output and the folder."""
        work = pathlib.Path(tempfile.mkdtemp(dir=self.root))
        done = subprocess.run([self.bin / command[0], *command[1:]], cwd=work, env=self.environment(**environment), capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, (done.stdout + done.stderr)[-1500:]
        return done.stdout, work

    def claude(self, prompt, model, *more):
        quiet = {"DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
        command = ["claude", "-p", prompt, "--model", model, "--output-format", "json", *more]
        output, work = self.run(command, ANTHROPIC_BASE_URL=self.url, ANTHROPIC_API_KEY="sk-any", **quiet)
        return json.loads(output[output.index("{"):]), work

    def codex(self, prompt, model, *more):
        provider = f'model_providers.local={{name="local", base_url="{self.url}/v1", wire_api="responses", env_key="KEY"}}'
        settings = [provider, 'model_provider="local"', "analytics.enabled=false", *more]
        options = [option for setting in settings for option in ("-c", setting)]
        # The namespace is the sandbox.
        command = ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", model, *options, prompt]
        return self.run(command, KEY="sk-any")


def main(cachalot, modules):
    folder = Folder(cachalot, modules)
    brief = folder.root / "brief.md"
    brief.write_text("You are brief.")

    def claude_local():
        """Claude Code is answered by the local engine, whose context is smaller than its max_tokens"""
        answer, _ = folder.claude("say hi", "deepseek-chat", "--tools", "", "--system-prompt", "You are brief.")
        assert not answer["is_error"] and answer["usage"]["input_tokens"] > 0, answer

    def claude_remote(dialect):
        def check():
            answer, work = folder.claude("write the file", MODELS[dialect], "--allowedTools", "Bash")
            assert "patched" in answer["result"], answer
            assert (work / "made.txt").read_text() == "a whale\n"

        check.__doc__ = f"Claude Code runs a tool for a provider of the dialect {dialect}"
        return check

    def codex_remote(dialect):
        def check():
            output, work = folder.codex("write the file", MODELS[dialect])
            assert "It said:" in output, output
            assert (work / "made.txt").read_text() == "a whale\n", output

        check.__doc__ = f"Codex edits a file for a provider of the dialect {dialect}, and its history is accepted"
        return check

    def codex_local():
        """Codex is answered by the local engine"""
        disabled = [f"features.{name}=false" for name in ("multi_agent", "goals", "skills", "unified_exec", "shell_tool", "view_image_tool")]
        _, _ = folder.codex("say hi", "deepseek-chat", f'model_instructions_file="{brief}"', *disabled)

    try:
        remote = [check(dialect) for dialect in MODELS for check in (claude_remote, codex_remote)]
        checks.run("coding agents", [claude_local, codex_local, *remote])
    finally:
        folder.server.terminate()
        folder.server.wait(40)
        shutil.rmtree(folder.root, ignore_errors=True)


if __name__ == "__main__":
    if os.environ.get(IN_NAMESPACE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        main(*sys.argv[1:])
    elif subprocess.run(["unshare", "--user", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        print("ok coding agents: skipped, because this system allows no network namespaces")
    else:
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv])
