"""A cachalot server for a long test: its folder, configuration, process, memory and log. Standard library only; reads /proc."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.environ.get("CACHALOT_BINARY", os.path.join(HERE, "../../target/release/cachalot"))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class NotStarted(Exception):
    """The server ended instead of listening. Contains its log."""


def start_with_model(*switches):
    """Starts a server with the fixture model and waits until it is ready. Returns its process and its URL."""
    process = subprocess.Popen([BINARY, "serve", "--model", "fixture", "--listen", "127.0.0.1:0", *switches], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        found = re.search(r"listening on (http://\S+)", COLOUR.sub("", line))
        if found:
            url = found.group(1)
            break
    else:
        sys.exit("the server did not start")
    threading.Thread(target=process.stderr.read, daemon=True).start()
    while True:
        try:
            urllib.request.urlopen(url + "/readyz").read()
            return process, url
        except OSError:
            time.sleep(0.02)


class Server:
    """One replica; all its files are in its folder."""

    def __init__(self, folder, settings, arguments=("--model", "none"), environment=None):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.arguments = folder, arguments
        self.config, self.log = os.path.join(folder, "cachalot.toml"), os.path.join(folder, "log")
        # Independent of the user's own configuration and folders.
        own = {"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
        self.environment = {**os.environ, "CACHALOT_LOG": "warn,cachalot=info", **own, **(environment or {})}
        with open(self.config, "w") as file:
            file.write(settings)
        self.process = self.port = None

    def command(self, *arguments):
        """Runs a command of the binary on this server's configuration. Returns the finished process."""
        command = [BINARY, *arguments, "--config", self.config]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment)

    def run(self, *arguments):
        """The output of a command, which must succeed."""
        done = self.command(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments}: {done.stderr}")
        return done.stdout.strip()

    def start(self):
        """Starts the server and waits until it listens."""
        command = [BINARY, "serve", *self.arguments, "--listen", "127.0.0.1:0", "--config", self.config]
        log = open(self.log, "a+")
        position = log.tell()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=self.environment)
        while True:
            ended = self.process.poll() is not None
            log.seek(position)
            text = COLOUR.sub("", log.read())
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", text)
            if found:
                self.port = int(found.group(1))
                return
            if ended:
                raise NotStarted(text)
            time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=60):
        """Sends SIGTERM. Returns the exit status and the elapsed seconds; the status is None after a timeout."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
            self.kill()
        return status, time.monotonic() - started

    def alive(self):
        return self.process.poll() is None

    def memory(self, field="VmRSS"):
        """A field of /proc in MiB: VmRSS is the resident memory, VmHWM its peak."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":")) / 1024

    def cpu(self):
        """Seconds of processor time so far."""
        return cpu(self.process.pid)


def cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
