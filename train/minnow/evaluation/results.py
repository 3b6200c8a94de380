"""The file of results: one JSON object, written again after each measurement, so that a stopped run
continues.

    {"models": {LABEL: {"sha256", "bytes", "program"}}, "answers": {LABEL: {PROMPT: {RUN: answer}}}, "loss": {LABEL: {SET: {ROW: [sum, tokens]}}},
     "needles": {LABEL: {SET: {ITEM: hit}}}, "requests": {LABEL: [...]}, "speed": {LABEL: {...}}}

LABEL names a checkpoint, or is `source`. What was measured with other weights under the same label
is forgotten.
"""

import hashlib
import json
import os

PARTS = ("answers", "loss", "needles", "requests", "speed")


def digest(path):
    """sha256 of a file, or of the files of a checkpoint folder in alphabetical order, and their
    bytes."""
    whole, size = hashlib.sha256(), 0
    names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
    for name in names:
        file = os.path.join(path, name) if name else path
        if os.path.isdir(file) or name.endswith(".md"):
            continue
        with open(file, "rb") as f:
            one = hashlib.file_digest(f, "sha256")
        whole.update(f"{one.hexdigest()} {name}\n".encode())
        size += os.path.getsize(file)
    return whole.hexdigest(), size


def short_hash(value):
    """A hash of a JSON value, which tells whether a stored result belongs to it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


class Results:
    def __init__(self, path):
        self.path, self.data = path, {"models": {}}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.data = json.load(f)

    def set_model(self, label, path, program=None):
        """Declares which weights a label stands for, and forgets results of others."""
        sha, size = digest(path)
        if self.data["models"].get(label, {}).get("sha256", sha) != sha:
            print(f"{label}: other weights than before, measured again", flush=True)
            for part in PARTS:
                self.data.get(part, {}).pop(label, None)
        self.data["models"][label] = {"sha256": sha, "bytes": size, "program": program}
        self.save()

    def part(self, name, label, *more):
        """The stored object of a part and a label, made where it is missing."""
        x = self.data
        for key in (name, label, *more):
            x = x.setdefault(key, {})
        return x

    def save(self):
        with open(self.path + ".tmp", "w", encoding="utf-8") as f:
            json.dump(self.data, f, ensure_ascii=False, indent=1)
            f.write("\n")
        os.replace(self.path + ".tmp", self.path)
