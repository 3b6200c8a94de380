"""Processes that run beside a test: providers, traffic, attackers, a busy loop; and a thread that watches the server."""

import asyncio
import http.client
import logging
import multiprocessing
import threading
import time

import attacks
import ordinary
from attacks import access, budgets, memory, parsers, providers  # noqa: F401  Each registers its attacks.
from server import cpu

# That others leave in the middle is what these tests are about.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def provide(kind, arguments, pipe, stop):
    async def run():
        provider = kind(*arguments)
        pipe.send(await provider.start())
        await told(stop)
        pipe.send(provider.faults)

    asyncio.run(run())


def ask(arguments, pipe, stop):
    async def run():
        traffic = ordinary.Traffic(*arguments)
        pipe.send(None)
        pipe.send(await traffic.run(await event(stop)))

    asyncio.run(run())


def assault(arguments, hostile_port, only, pipe, stop):
    async def run():
        attacks.keep(only)
        context = attacks.Context(*arguments)
        context.hostile_port = hostile_port
        pipe.send(None)
        running = await attacks.run(context, await event(stop))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        pipe.send([(one.paragraph, one.name, one.runs, one.wrong) for one in attacks.TABLE])

    asyncio.run(run())


def compute(share, pipe, stop):
    """Computes for that share of the time."""
    pipe.send(None)
    while not stop.is_set():
        until = time.monotonic() + 0.02 * share
        while time.monotonic() < until:
            pass
        time.sleep(0.02 * (1 - share))
    pipe.send(None)


async def told(stop):
    while not stop.is_set():
        await asyncio.sleep(0.05)


async def event(stop):
    """The same event for tasks of this process."""
    own = asyncio.Event()

    async def watch():
        await told(stop)
        own.set()

    own.task = asyncio.create_task(watch())
    return own


class Beside:
    """A process that runs a function of the above."""

    SPAWN = multiprocessing.get_context("spawn")

    def __init__(self, run, *arguments):
        self.pipe, other = self.SPAWN.Pipe()
        self.stopping = self.SPAWN.Event()
        self.process = self.SPAWN.Process(target=run, args=(*arguments, other, self.stopping), daemon=True)
        self.process.start()
        self.first = self.pipe.recv()

    def cpu(self):
        return cpu(self.process.pid)

    def stop(self):
        """What it has found."""
        self.stopping.set()
        found = self.pipe.recv()
        self.process.join()
        return found


def get(port, path, headers=None):
    """Status and body, whatever proxies the environment names."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Watch:
    """Asks /healthz four times a second, and looks at the memory."""

    def __init__(self, server):
        self.server, self.slowest, self.failures, self.most, self.over = server, 0.0, [], 0.0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(0.25):
            began = time.monotonic()
            try:
                status, _ = get(self.server.port, "/healthz")
                if status != 200:
                    self.failures.append(f"status {status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(str(error))
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.most = max(self.most, self.server.memory()) if self.server.alive() else self.most

    def end(self):
        self.over.set()
        self.thread.join()
        self.most = max(self.most, self.server.memory()) if self.server.alive() else self.most
