"""Files and batches with the official OpenAI client for Python: a server of its own, in front of a fake provider that answers batches.

    CACHALOT=target/release/cachalot python3 openai_files.py
"""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

import checks

LINES = [{"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "fake/writer", "max_tokens": 10, "messages": [{"role": "user", "content": f"{n}?"}]}} for n in range(3)]
ID = {"file": re.compile(r"^file-[0-9a-f]{32}$"), "batch": re.compile(r"^batch_[0-9a-f]{32}$")}


class Provider(BaseHTTPRequestHandler):
    """Keeps files, and answers a batch when it is asked for the second time."""

    protocol_version = "HTTP/1.1"
    files, batches = {}, {}

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def add_file(self, content, purpose, filename):
        id = f"file-{len(self.files)}theirs"
        self.files[id] = (content, {"id": id, "object": "file", "bytes": len(content), "created_at": 1, "filename": filename, "purpose": purpose, "status": "processed"})
        return self.files[id][1]

    def do_POST(self):
        parts = self.path.split("/")[2:]
        body = self.body()
        if parts == ["files"]:
            form = BytesParser().parsebytes(b"content-type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + body)
            fields = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
            content, purpose = (fields[name].get_payload(decode=True) for name in ("file", "purpose"))
            return self.reply(200, self.add_file(content, purpose.decode(), fields["file"].get_filename()))
        if parts == ["batches"]:
            asked = json.loads(body)
            id = f"batch_{len(self.batches)}theirs"
            self.batches[id] = {"id": id, "object": "batch", "status": "validating", "created_at": 1, "asked": 0, "output_file_id": None, "error_file_id": None, **asked}
            return self.reply(200, self.batches[id])
        batch = self.batches[parts[1]]
        batch["status"] = "cancelled"
        self.reply(200, batch)

    def do_GET(self):
        parts = self.path.split("/")[2:]
        if parts[0] == "files" and parts[1] in self.files:
            content, description = self.files[parts[1]]
            return self.reply(200, content, "application/octet-stream") if parts[2:] else self.reply(200, description)
        if parts[0] == "batches" and parts[1] in self.batches:
            batch = self.batches[parts[1]]
            batch["asked"] += 1
            if batch["asked"] == 2 and batch["status"] != "cancelled":
                self.answer(batch)
            return self.reply(200, batch)
        self.reply(404, {"error": {"message": "not found"}})

    def do_DELETE(self):
        self.files.pop(self.path.split("/")[3])
        self.reply(200, {"deleted": True})

    def answer(self, batch):
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]][0].splitlines()]
        assert all(line["body"]["model"] == "writer" for line in lines), lines
        body = {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}], "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}
        answers = [{"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None} for line in lines]
        output = self.add_file("".join(json.dumps(answer) + "\n" for answer in answers).encode(), "batch_output", "output.jsonl")
        batch.update(status="completed", output_file_id=output["id"], request_counts={"total": len(lines), "completed": len(lines), "failed": 0})


def start(folder):
    """Starts the provider and a server. Returns a client, and the server's process."""
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    config = os.path.join(folder, "cachalot.toml")
    with open(config, "w") as file:
        file.write(f'[[providers]]\nname = "fake"\nbase_url = "http://127.0.0.1:{provider.server_address[1]}/v1"\ndialect = "openai"\nprivate = true\nmodels = ["writer"]\n')
    command = [os.environ["CACHALOT"], "serve", "--model", "none", "--listen", "127.0.0.1:0", "--config", config]
    environment = {**os.environ, "XDG_DATA_HOME": folder, "XDG_CACHE_HOME": folder, "XDG_CONFIG_HOME": folder}
    log = open(os.path.join(folder, "log"), "w+")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    for _ in range(300):
        with open(log.name) as text:
            address = re.search(r"listening on (http://127\.0\.0\.1:\d+)", text.read())
        if address:
            return openai.OpenAI(base_url=f"{address[1]}/v1", api_key="sk-any", max_retries=0, timeout=60), server
        time.sleep(0.1)
    raise RuntimeError(open(log.name).read())


folder = tempfile.TemporaryDirectory()
client, server = start(folder.name)


def upload(purpose="batch"):
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    return client.files.create(file=("requests.jsonl", text.encode()), purpose=purpose)


def files():
    """files are created, described, listed, downloaded and deleted"""
    file = upload()
    assert ID["file"].match(file.id) and file.purpose == "batch" and file.filename == "requests.jsonl", file
    assert client.files.retrieve(file.id).id == file.id
    assert [json.loads(line)["custom_id"] for line in client.files.content(file.id).text.splitlines()] == ["r0", "r1", "r2"]
    other = upload("user_data")
    assert [f.id for f in client.files.list(limit=1)] == [other.id, file.id], "both pages"
    assert [f.id for f in client.files.list(purpose="batch", order="asc")] == [file.id]
    assert client.files.delete(file.id).deleted and client.files.delete(other.id).deleted
    try:
        client.files.retrieve(file.id)
        raise AssertionError("a deleted file is there")
    except openai.NotFoundError as missing:
        assert file.id in missing.message, missing


def batches():
    """a batch is created, retrieved, listed, and its output is read"""
    file = upload()
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"})
    assert ID["batch"].match(batch.id) and batch.input_file_id == file.id and batch.metadata == {"a": "b"}, batch
    for _ in range(5):
        if (batch := client.batches.retrieve(batch.id)).status == "completed":
            break
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["r0", "r1", "r2"] and ID["file"].match(batch.output_file_id), answers
    second = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(second.id).status == "cancelled"
    assert [b.id for b in client.batches.list(limit=1)] == [second.id, batch.id]


def refusals():
    """a wrong line and a wrong endpoint are named"""
    try:
        client.files.create(file=("x.jsonl", b'{"custom_id": "1"}'), purpose="batch")
        raise AssertionError("it was taken")
    except openai.BadRequestError as refused:
        assert "line 1" in refused.message, refused
    try:
        client.batches.create(input_file_id=upload().id, endpoint="/v1/embeddings", completion_window="24h")
        raise AssertionError("it was taken")
    except openai.BadRequestError as refused:
        assert "endpoint" in refused.message, refused


try:
    checks.run("openai for Python, files and batches", [files, batches, refusals])
finally:
    server.terminate()
    server.wait()
