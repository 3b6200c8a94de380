"""Starts that must be refused, and servers that must not be open (topic 5, and the files of 10). `check_starts` yields the result of
each check and its description."""

import os
import shutil
import stat

import client
from server import NotStarted, Server

WITHOUT_KEYS = ("--model", "none", "--grace", "1")


def start_error(server):
    """The reason why a start was refused; None if it was not."""
    try:
        server.start()
    except NotStarted as why:
        return str(why) or "without a message"
    server.kill()
    return None


async def check_starts(server):
    """Checks the folder of a stopped server, which is unchanged afterwards."""
    database = os.path.join(server.folder, "cachalot.db")
    server = Server(server.folder, open(server.config).read(), WITHOUT_KEYS, server.environment)
    for what, content in (("missing", None), ("empty", b""), ("one byte long", b"x")):
        kept = {name: os.path.join(server.folder, name) for name in os.listdir(server.folder) if name.startswith("cachalot.db")}
        for name, path in kept.items():
            os.rename(path, path + ".kept")
        if content is not None:
            with open(database, "wb") as file:
                file.write(content)
        why = start_error(server)
        for name in [name for name in os.listdir(server.folder) if name.startswith("cachalot.db") and not name.endswith(".kept")]:
            os.remove(os.path.join(server.folder, name))
        for path in kept.values():
            os.rename(path + ".kept", path)
        yield why is not None, f"a start with a database that is {what} is refused" + ("" if why else ": it was not")

    token = os.path.join(server.folder, "admin-token")
    if os.path.exists(token):
        os.chmod(token, 0o644)
        why = start_error(server)
        os.chmod(token, 0o600)
        yield bool(why and "chmod" in why), f"an admin token that others can read is refused with the remedy: {(why or 'it was not refused')[-200:]!r}"

    open_to_others = [name for name in ("cachalot.db", "admin-token", "store-id", "journal") if os.path.exists(os.path.join(server.folder, name)) and stat.S_IMODE(os.stat(os.path.join(server.folder, name)).st_mode) & 0o077]
    yield not open_to_others, f"other users cannot read the database, the journal and the tokens ({open_to_others} can be)"

    server.start()
    second = Server(server.folder, open(server.config).read(), WITHOUT_KEYS, server.environment)
    why = start_error(second)
    server.stop()
    yield why is not None, "a second server on the same folder is refused" + ("" if why else ": it was not")

    folder = server.folder + "-without-keys"
    settings = f"[store]\nurl='sqlite:{folder}/cachalot.db'\njournal='{folder}/journal'\n"
    keyless = Server(folder, settings, WITHOUT_KEYS)
    keyless.start()
    wrong = []
    for path in ("/v1/models", "/admin/keys", "/metrics"):
        for header in ("x-forwarded-for: 10.0.0.1", "forwarded: for=10.0.0.1", "via: 1.1 proxy"):
            reply = await client.send(keyless.port, client.request("GET", path, None, b"", [header]))
            if reply.status != 403:
                wrong.append(f"{path} with {header.split(':')[0]}: {reply.status}")
    keyless.stop()
    shutil.rmtree(folder)
    yield not wrong, f"a server without keys answers no request through a proxy {wrong}"
