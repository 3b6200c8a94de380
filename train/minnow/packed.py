"""A packed folder (docs/packed-weights.md): its numbers as PyTorch reads them, and a copy with other scales, offsets, norms and head rows.

`shards.py` puts the quants into files of their own, so that such a copy differs in the last file only."""

import hashlib
import json
import os
import shutil

import torch

from rounding import GROUP

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "I32": torch.int32, "U8": torch.uint8}


def read(folder):
    """(tensors as they are stored, config)."""
    from safetensors.torch import load_file
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    tensors = {}
    for name in config["cachalot_packing"]["shards"]:
        tensors |= load_file(os.path.join(folder, name))
    return tensors, config


def quants(stored):
    """Quants [n, k] from 0 to 15, bytes, of a stored matrix [n, k / 2]."""
    x = stored.unflatten(-1, (-1, GROUP // 2))
    return torch.cat((x & 15, x >> 4), -1).flatten(-2)


def weights(tensors, name):
    """The matrix `name` (without `.weight`) in float32, as docs/packed-weights.md defines it."""
    q = quants(tensors[name + ".weight"]).float().unflatten(-1, (-1, GROUP))
    s, o = (tensors[f"{name}.weight_{x}"].float()[..., None] for x in ("scale", "offset"))
    return (s * q + o).flatten(-2) * tensors[name + ".weight_factor"][:, None]


def header(path):
    """(header, offset of the first tensor) of a safetensors file."""
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        return json.loads(f.read(n)), 8 + n


def replace(folder, out, changed):
    """A copy of a packed folder with the tensors `changed`, each of the shape and format that it had.

    Files without a changed tensor are copied byte by byte."""
    if os.path.exists(out):
        raise SystemExit(f"{out} exists")
    shutil.copytree(folder, out)
    with open(os.path.join(out, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    left = dict(changed)
    for name, entry in config["cachalot_packing"]["shards"].items():
        path = os.path.join(out, name)
        head, start = header(path)
        mine = [k for k in head if k in left]
        if not mine:
            continue
        with open(path, "r+b") as f:
            for k in mine:
                t, h = left.pop(k).contiguous(), head[k]
                if list(t.shape) != h["shape"] or t.dtype != DTYPES[h["dtype"]]:
                    raise SystemExit(f"{k}: {t.dtype} {list(t.shape)}, but the folder has {h['dtype']} {h['shape']}")
                f.seek(start + h["data_offsets"][0])
                f.write(t.view(torch.uint8).numpy().tobytes())
        with open(path, "rb") as f:
            entry["sha256"] = hashlib.file_digest(f, "sha256").hexdigest()
    if left:
        raise SystemExit(f"{folder} has no tensor {sorted(left)[0]}")
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(config, indent=2) + "\n")
