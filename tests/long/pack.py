#!/usr/bin/env python3
"""Packs a random checkpoint of V3.2's shape and several gigabytes, kills the process at random moments, and damages the source.

    cargo build --release && python3 tests/long/pack.py [GIGABYTES] [KILLS]

Checks that a run that was killed KILLS times (20 by default) ends with the same bytes as a whole run, that no run needs more than
300 MiB of memory of its own, that damaged sources are refused by the name of the tensor, and that a sparse layout of the full model
(671B) is planned without reading weights. Needs twice the GIGABYTES (3 by default) on the disk of the temporary folder. Exits with 1
at the first failure."""

import hashlib
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = os.environ.get("CACHALOT_BINARY", str(ROOT / "target/release/cachalot"))
FULL = json.loads((ROOT / "reference/configs/deepseek-v3.2.json").read_text())
OPTIONS = ["--weights", "int4", "--attention", "int8", "--embedding", "int8", "--shard-size", "100MB"]
MAX_MEMORY = 300 << 20


def fail(message):
    sys.exit(f"not ok {message}")


def tensors(config):
    """Name, format and shape of every tensor of the release's layout, fp8 where `quantization_config` is present."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
    rope, v = config["qk_rope_head_dim"], config["v_head_dim"]
    q_rank, kv_rank = config["q_lora_rank"], config["kv_lora_rank"]
    index = config["index_n_heads"] * config["index_head_dim"]
    fp8 = "quantization_config" in config

    def scaled(name, rows, columns):
        if not fp8:
            return [(name, "BF16", [rows, columns])]
        blocks = [-(-rows // 128), -(-columns // 128)]
        return [(name, "F8_E4M3", [rows, columns]), (name + "_scale_inv", "F32", blocks)]

    def mlp(prefix, width):
        return [
            *scaled(f"{prefix}.gate_proj.weight", width, hidden), *scaled(f"{prefix}.up_proj.weight", width, hidden),
            *scaled(f"{prefix}.down_proj.weight", hidden, width)
        ]

    layers = config["num_hidden_layers"]
    yield "model.embed_tokens.weight", "BF16", [vocab, hidden]
    for layer in range(layers + config["num_nextn_predict_layers"]):
        p = f"model.layers.{layer}"
        yield f"{p}.input_layernorm.weight", "BF16", [hidden]
        yield f"{p}.post_attention_layernorm.weight", "BF16", [hidden]
        a = f"{p}.self_attn"
        yield from scaled(f"{a}.q_a_proj.weight", q_rank, hidden)
        yield f"{a}.q_a_layernorm.weight", "BF16", [q_rank]
        yield from scaled(f"{a}.q_b_proj.weight", heads * (nope + rope), q_rank)
        yield from scaled(f"{a}.kv_a_proj_with_mqa.weight", kv_rank + rope, hidden)
        yield f"{a}.kv_a_layernorm.weight", "BF16", [kv_rank]
        yield from scaled(f"{a}.kv_b_proj.weight", heads * (nope + v), kv_rank)
        yield from scaled(f"{a}.o_proj.weight", hidden, heads * v)
        yield from scaled(f"{a}.indexer.wq_b.weight", index, q_rank)
        yield from scaled(f"{a}.indexer.wk.weight", config["index_head_dim"], hidden)
        yield f"{a}.indexer.k_norm.weight", "F32", [config["index_head_dim"]]
        yield f"{a}.indexer.k_norm.bias", "F32", [config["index_head_dim"]]
        yield f"{a}.indexer.weights_proj.weight", "BF16", [config["index_n_heads"], hidden]
        if layer < config["first_k_dense_replace"]:
            yield from mlp(f"{p}.mlp", config["intermediate_size"])
        else:
            yield f"{p}.mlp.gate.weight", "BF16", [config["n_routed_experts"], hidden]
            yield f"{p}.mlp.gate.e_score_correction_bias", "F32", [config["n_routed_experts"]]
            for expert in range(config["n_routed_experts"]):
                yield from mlp(f"{p}.mlp.experts.{expert}", config["moe_intermediate_size"])
            yield from mlp(f"{p}.mlp.shared_experts", config["n_shared_experts"] * config["moe_intermediate_size"])
        if layer == layers:
            for name in ("enorm", "hnorm", "shared_head.norm"):
                yield f"{p}.{name}.weight", "BF16", [hidden]
            yield f"{p}.eh_proj.weight", "BF16", [hidden, 2 * hidden]
            yield f"{p}.embed_tokens.weight", "BF16", [vocab, hidden]
            yield f"{p}.shared_head.head.weight", "BF16", [vocab, hidden]
    yield "model.norm.weight", "BF16", [hidden]
    yield "lm_head.weight", "BF16", [vocab, hidden]


SIZES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}


def size_of(tensor):
    _, dtype, shape = tensor
    size = SIZES[dtype]
    for n in shape:
        size *= n
    return size


def write_checkpoint(folder, config, shard_bytes, fill):
    """Writes the files; `fill(file, tensor)` writes the bytes of a tensor, or None leaves a hole."""
    folder.mkdir()
    shards, part, held = [], [], 0
    for tensor in tensors(config):
        if part and held + size_of(tensor) > shard_bytes:
            shards, part, held = [*shards, part], [], 0
        part, held = [*part, tensor], held + size_of(tensor)
    weight_map, total = {}, 0
    for i, part in enumerate([*shards, part]):
        name, header, end = f"model-{i + 1:05}.safetensors", {}, 0
        for tensor in part:
            start, end = end, end + size_of(tensor)
            header[tensor[0]] = {"dtype": tensor[1], "shape": tensor[2], "data_offsets": [start, end]}
            weight_map[tensor[0]] = name
        text = json.dumps(header).encode()
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            if fill is None:
                file.truncate(8 + len(text) + end)
            else:
                for tensor in part:
                    fill(file, tensor)
        total += end
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    return total


def random_weights(seed):
    """A `fill` for bf16 and f32: numbers of magnitude below 2^-2, from one random block that is read at changing offsets."""
    chance = random.Random(seed)
    # Sign and mantissa are random, the exponent is one of eight (bf16: bytes of mantissa, and of sign and exponent).
    signs = bytes(0x3C + (b & 0x01) + (b & 0x80) for b in range(256))
    noise = chance.randbytes(16 << 20)
    block = bytearray(noise)
    block[1::2] = noise[1::2].translate(signs)

    def fill(file, tensor):
        name, dtype, shape = tensor
        if len(shape) == 1:
            one = struct.pack("<f", 1.0)
            return file.write((one if dtype == "F32" else one[2:]) * shape[0])
        left = size_of(tensor)
        while left:
            at = 2 * chance.randrange(len(block) // 4)
            piece = block[at:at + min(left, 8 << 20)]
            file.write(piece)
            left -= len(piece)

    return fill


def pack(source, destination, *more):
    return [PROGRAM, "pack", str(source), str(destination), *OPTIONS, *more]


def run(arguments):
    """Runs a command that succeeds. Returns its output, its seconds, and the most memory of its own (anonymous pages)."""
    start, memory = time.monotonic(), 0
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"RssAnon:\s+(\d+) kB", status)
            memory = max(memory, int(found[1]) << 10 if found else 0)
        except OSError:
            pass
        time.sleep(0.02)
    output, errors = process.communicate()
    if process.returncode:
        fail(f"{arguments}: {errors}")
    return output, time.monotonic() - start, memory


def refused(arguments, *words):
    ended = subprocess.run(arguments, capture_output=True, text=True)
    if ended.returncode == 0 or any(word not in ended.stderr for word in words):
        fail(f"{arguments} ended with {ended.returncode} and {ended.stderr!r}, which lacks one of {words}")


def digests(folder):
    found = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def check_full_layout(folder):
    source = folder / "full"
    stored = write_checkpoint(source, FULL, 4 << 30, None)
    output, seconds, memory = run([PROGRAM, "pack", str(source), "--weights", "int4", "--dry-run"])
    print(output, end="")
    packed = int(re.search(r"([\d,]+) bytes in all", output)[1].replace(",", ""))
    # 5 bits a weight, besides norms and gates.
    if not 0.62 < packed / 684e9 < 0.63:
        fail(f"the full model is planned with {packed} bytes")
    print(f"ok the layout of {stored / 1e9:.0f} GB is planned in {seconds:.1f} s with {memory >> 20} MiB: {packed / 1e9:.0f} GB")


def check_kills(folder, source, kills):
    whole, killed = folder / "whole", folder / "killed"
    _, seconds, memory = run(pack(source, whole))
    print(f"ok a whole run takes {seconds:.1f} s and {memory >> 20} MiB")
    if memory > MAX_MEMORY:
        fail(f"a run needed {memory >> 20} MiB of its own")
    chance = random.Random(7)
    interrupted = 0
    for _ in range(kills):
        process = subprocess.Popen(pack(source, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.0, seconds / 4))
        interrupted += process.poll() is None
        process.kill()
        process.wait()
        if (killed / "config.json").exists() and (killed / "cachalot-pack.json").exists():
            continue
        if not (killed / "config.json").exists():
            refused([PROGRAM, "inspect", str(killed)], "run the same `cachalot pack` command again")
    run(pack(source, killed))
    if digests(whole) != digests(killed):
        fail("the files differ from those of a whole run")
    refused(pack(source, killed, "--indexer", "bf16"), "other options")
    run([PROGRAM, "inspect", str(killed), "--verify"])
    print(f"ok after {interrupted} kills the files are those of a whole run")
    return whole


def check_damage(folder, source):
    """Damages the source in three ways, each of which is undone."""
    victim = "model.layers.2.mlp.experts.3.down_proj.weight"
    index = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    path = source / index[victim]
    with open(path, "r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        text = file.read(length)
        end = 8 + length + json.loads(text)[victim]["data_offsets"][1]
        file.seek(end - 2)
        before = file.read(2)
        file.seek(end - 2)
        file.write(b"\xc0\x7f")
    refused(pack(source, folder / "nan"), victim, "NaN", "damaged")
    with open(path, "r+b") as file:
        file.seek(end - 2)
        file.write(before)
        file.seek(8)
        file.write(text.replace(victim.encode(), victim.replace("down", "gone").encode()))
    refused(pack(source, folder / "missing"), victim)
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(text)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    refused(pack(source, folder / "short"), path.name, "truncated")
    print("ok NaN, a missing tensor and a short file are refused by name")


def main():
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    config = {key: value for key, value in FULL.items() if key != "quantization_config"}
    config |= {
        "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 1024, "num_hidden_layers": 4,
        "first_k_dense_replace": 1, "num_attention_heads": 16, "q_lora_rank": 768, "n_routed_experts": 32,
        "index_n_heads": 16, "vocab_size": 32768
    }
    # Three layers of experts and the MTP module; an expert has three matrices.
    config["n_routed_experts"] = max(16, int(gigabytes * 1e9 / (4 * 3 * 2048 * 1024 * 2)) // 8 * 8)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        check_full_layout(folder)
        source = folder / "source"
        stored = write_checkpoint(source, config, 1 << 30, random_weights(1))
        print(f"ok wrote a source of {stored / 1e9:.2f} GB")
        check_kills(folder, source, kills)
        check_damage(folder, source)


if __name__ == "__main__":
    main()
