"""Claude Code and Codex as programs, against the local engine and against a provider elsewhere.

    python3 agents.py CACHALOT NODE_MODULES

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import checks

IN_NAMESPACE = "CACHALOT_AGENTS_NAMESPACE"
# What the fake provider calls with a tool of this name, once; then it repeats the result.
CALLS = {
    "apply_patch": {"input": "*** Begin Patch\n*** Add File: made.txt\n+a whale\n*** End Patch\n"},
    "exec_command": {"cmd": "echo a whale > made.txt && echo patched"},
    "Bash": {"command": "echo a whale > made.txt && echo patched", "description": "Writes a file"},
}


def text_of(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


class Provider(BaseHTTPRequestHandler):
    """A chat completions API whose model calls one tool and then says what came back."""

    protocol_version = "HTTP/1.1"
    requests = []

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.requests.append(body)
        results = [text_of(message["content"]) for message in body["messages"] if message["role"] == "tool"]
        names = [tool["function"]["name"] for tool in body.get("tools", [])]
        name = next((name for name in CALLS if name in names), None)
        if name and not results:
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(CALLS[name])}}
            deltas, reason = [{"role": "assistant", "tool_calls": [call]}], "tool_calls"
        else:
            said = f"It said: {results[-1]}" if results else "Hello from elsewhere."
            deltas, reason = [{"role": "assistant", "content": said}], "stop"
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        events = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        events.append({**chunk, "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}})
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())


class Folder:
    """The server, and the folders that an agent sees."""

    def __init__(self, cachalot, modules):
        self.bin = pathlib.Path(modules) / ".bin"
        self.root = pathlib.Path(tempfile.mkdtemp())
        provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        config = self.root / "cachalot.toml"
        base_url = f"http://127.0.0.1:{provider.server_address[1]}/v1"
        config.write_text(f'[[providers]]\nname = "fake"\nbase_url = "{base_url}"\ndialect = "openai"\nprivate = true\nmodels = ["gpt-5.5"]\n')
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

    def claude_remote():
        """Claude Code runs a tool for a provider elsewhere"""
        answer, work = folder.claude("write the file", "gpt-5.5", "--allowedTools", "Bash")
        assert "patched" in answer["result"], answer
        assert (work / "made.txt").read_text() == "a whale\n"

    def codex_remote():
        """Codex edits a file for a provider elsewhere, and its history is accepted"""
        output, work = folder.codex("write the file", "gpt-5.5")
        assert "It said:" in output, output
        assert (work / "made.txt").read_text() == "a whale\n", output

    def codex_local():
        """Codex is answered by the local engine"""
        disabled = [f"features.{name}=false" for name in ("multi_agent", "goals", "skills", "unified_exec", "shell_tool", "view_image_tool")]
        _, _ = folder.codex("say hi", "deepseek-chat", f'model_instructions_file="{brief}"', *disabled)

    try:
        checks.run("agents", [claude_local, claude_remote, codex_remote, codex_local])
    finally:
        folder.server.terminate()
        folder.server.wait(40)
        shutil.rmtree(folder.root, ignore_errors=True)


if __name__ == "__main__":
    if os.environ.get(IN_NAMESPACE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        main(*sys.argv[1:])
    elif subprocess.run(["unshare", "--user", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        print("ok agents: skipped, because this system allows no network namespaces")
    else:
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv])
