"""A cachalot server with one checkpoint: its process, its folder of state, and requests to it.
Standard library only."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Server:
    """`with Server(binary, folder, threads) as server:` serves a checkpoint on a free port of this
    machine.

    The user's own configuration, keys and caches are neither read nor written."""

    def __init__(self, binary, model, threads=None):
        self.command = [os.path.abspath(binary), "serve", "--listen", "127.0.0.1:0", "--store", "off", "--disk-cache", "off"]
        self.command += ["--model", os.path.abspath(model)] if model else []
        self.command += ["--threads", str(threads)] if threads else []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        own = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), self.folder.name)
        self.started = time.time()
        self.process = subprocess.Popen(self.command, cwd=self.folder.name, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True)
        log = []
        for line in self.process.stderr:
            log.append(line)
            if found := re.search(r"listening on (http://\S+)", COLOUR.sub("", line)):
                self.url = found[1]
                break
        else:
            self.folder.cleanup()
            raise SystemExit("the server did not start:\n" + "".join(log))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        while not self.ready():
            if self.process.poll() is not None:
                raise SystemExit("the server ended while it loaded the model")
            time.sleep(0.02)
        self.seconds_to_ready = time.time() - self.started
        return self

    def ready(self):
        try:
            return urllib.request.urlopen(self.url + "/readyz", timeout=10).status == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def post(self, path, body, timeout=600):
        """The response of a request, as an open file. Raises `urllib.error.HTTPError` where the
        server refuses it."""
        return urllib.request.urlopen(urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}), timeout=timeout)

    def ask(self, body):
        """An answer in the form that `checks` takes, with token counts and seconds; {"error"} where
        the server refuses."""
        began = time.time()
        try:
            reply = json.load(self.post("/chat/completions", body))
        except urllib.error.HTTPError as e:
            return {"error": f"status {e.code}: {e.read().decode(errors='replace')[:300]}"}
        (choice,) = reply["choices"]
        message, usage = choice["message"], reply["usage"]
        calls = [{"name": c["function"]["name"], "arguments": arguments(c["function"]["arguments"])} for c in message.get("tool_calls") or []]
        return {"content": message.get("content"), "reasoning": message.get("reasoning_content"), "calls": calls, "finish": choice["finish_reason"],
                "prompt_tokens": usage["prompt_tokens"], "completion_tokens": usage["completion_tokens"], "seconds": round(time.time() - began, 2)}

    def stream(self, path, body):
        """(deltas of a streamed answer, seconds to each of them)."""
        began, out = time.time(), []
        for line in self.post(path, body | {"stream": True}):
            line = line.decode()
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content") or choices[0]["delta"].get("reasoning_content")):
                    out.append((text, time.time() - began))
        return out


def arguments(text):
    """Arguments of a tool call; a text that is not a JSON object stays a text under the name
    `invalid`."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"invalid": text}
    return value if isinstance(value, dict) else {"invalid": text}
