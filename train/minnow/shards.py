#!/usr/bin/env python3
"""Packed weights in other files: the quants in files of their own, everything else in the last one.

    python shards.py PACKED OUT

PACKED and OUT are folders of safetensors with an index. Later training of scales and offsets (finetune.py --grid) leaves the quants
as they are, so that it replaces the last file only, a quarter of the bytes. A file has at most 46,000,000 bytes of tensors."""

import hashlib
import json
import pathlib
import shutil
import sys

from safetensors import safe_open
from safetensors.torch import save_file

MAX_BYTES = 46_000_000


def main(source, out):
    source, out = pathlib.Path(source), pathlib.Path(out)
    if out.exists():
        sys.exit(f"{out} exists")
    index = json.loads((source / "model.safetensors.index.json").read_text())
    files = {name: safe_open(source / name, "pt") for name in sorted(set(index["weight_map"].values()))}
    quants, rest = [[]], []
    size = 0
    for name, file in index["weight_map"].items():
        part = files[file].get_slice(name)
        if part.get_dtype() != "U8":
            rest.append(name)
            continue
        length = files[file].get_tensor(name).nbytes
        if size + length > MAX_BYTES:
            quants.append([])
            size = 0
        quants[-1].append(name)
        size += length
    groups = [*quants, rest]
    out.mkdir()
    where = {}
    for number, group in enumerate(groups, 1):
        file = f"model-{number:05}-of-{len(groups):05}.safetensors"
        save_file({name: files[index["weight_map"][name]].get_tensor(name) for name in group}, out / file, metadata={"format": "pt"})
        where |= dict.fromkeys(group, file)
    index["weight_map"] = {name: where[name] for name in index["weight_map"]}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    config = json.loads((source / "config.json").read_text())
    config["cachalot_packing"]["shards"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(out.glob("*.safetensors"))
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in source.iterdir():
        if path.suffix != ".safetensors" and not (out / path.name).exists():
            shutil.copy2(path, out / path.name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
