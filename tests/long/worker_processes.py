"""Worker processes of a test (providers, traffic, attackers, a busy loop), and a thread that monitors the server."""

import asyncio
import http.client
import logging
import multiprocessing
import threading
import time

import attacks
import background_traffic
from attacks import access, budgets, memory, parsers, providers  # noqa: F401  The imports register the attacks.
from server import cpu

# Broken connections are part of these tests.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def run_provider(kind, arguments, pipe, stop):
    async def run():
        provider = kind(*arguments)
        pipe.send(await provider.start())
        await wait_for_stop(stop)
        pipe.send(provider.faults)

    asyncio.run(run())


def run_traffic(arguments, pipe, stop):
    async def run():
        traffic = background_traffic.Traffic(*arguments)
        pipe.send(None)
        pipe.send(await traffic.run(await local_event(stop)))

    asyncio.run(run())


def run_attackers(arguments, hostile_port, only, pipe, stop):
    async def run():
        attacks.select(only)
        context = attacks.Context(*arguments)
        context.hostile_port = hostile_port
        pipe.send(None)
        running = await attacks.run(context, await local_event(stop))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        pipe.send([(one.topic, one.name, one.runs, one.wrong) for one in attacks.TABLE])

    asyncio.run(run())


def busy_loop(share, pipe, stop):
    """Uses `share` of a core."""
    pipe.send(None)
    while not stop.is_set():
        until = time.monotonic() + 0.02 * share
        while time.monotonic() < until:
            pass
        time.sleep(0.02 * (1 - share))
    pipe.send(None)


async def wait_for_stop(stop):
    while not stop.is_set():
        await asyncio.sleep(0.05)


async def local_event(stop):
    """An asyncio event that is set with `stop`."""
    local = asyncio.Event()

    async def watch():
        await wait_for_stop(stop)
        local.set()

    local.task = asyncio.create_task(watch())
    return local


class WorkerProcess:
    """A process that runs one of the functions above."""

    SPAWN = multiprocessing.get_context("spawn")

    def __init__(self, run, *arguments):
        self.pipe, other = self.SPAWN.Pipe()
        self.stopping = self.SPAWN.Event()
        self.process = self.SPAWN.Process(target=run, args=(*arguments, other, self.stopping), daemon=True)
        self.process.start()
        self.first_message = self.pipe.recv()

    def cpu(self):
        return cpu(self.process.pid)

    def stop(self):
        """Stops the process and returns its result."""
        self.stopping.set()
        result = self.pipe.recv()
        self.process.join()
        return result


def get(port, path, headers=None):
    """Status and body; ignores proxies of the environment."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class HealthMonitor:
    """Requests /healthz four times a second, and records the time and the memory of the server."""

    def __init__(self, server):
        self.server, self.slowest, self.failures, self.most, self.over = server, 0.0, [], 0.0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(0.25):
            started = time.monotonic()
            try:
                status, _ = get(self.server.port, "/healthz")
                if status != 200:
                    self.failures.append(f"status {status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(str(error))
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.most = max(self.most, self.server.memory()) if self.server.alive() else self.most

    def end(self):
        self.over.set()
        self.thread.join()
        self.most = max(self.most, self.server.memory()) if self.server.alive() else self.most
