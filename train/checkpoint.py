"""Hugging Face checkpoint folders in and out: config.json, safetensors shards and their index.

The MTP module is layer `num_hidden_layers`; its embedding and head are those of the model and are not stored twice. Shards stay
below 16 MiB. FP8 folders (see fp8.py) are read as well and dequantised.
"""

import json
import os

import torch
from safetensors.torch import load_file, save_file

import fp8
from model import Config, Model

INDEX = "model.safetensors.index.json"


def hf_name(name, n_layers):
    """The name in the checkpoint of the tensor `name` of a Model."""
    if name.startswith("mtp.block."):
        return f"model.layers.{n_layers}." + name[len("mtp.block."):]
    if name == "mtp.norm.weight":
        return f"model.layers.{n_layers}.shared_head.norm.weight"
    if name.startswith("mtp."):
        return f"model.layers.{n_layers}." + name[len("mtp."):]
    return name if name.startswith("lm_head") else "model." + name


def hf_state(model):
    """The state of a Model by checkpoint names, the stacked experts taken apart."""
    c, out = model.c, {}
    f = c.moe_intermediate_size
    for own, t in model.state_dict().items():
        name, t = hf_name(own, c.num_hidden_layers), t.detach()
        base, _, last = name.rpartition(".")
        for e in range(c.n_routed_experts if last in ("w_gate_up", "w_down") else 0):
            expert = f"{base}.experts.{e}."
            if last == "w_gate_up":
                out[expert + "gate_proj.weight"] = t[e, :, :f].t().contiguous()
                out[expert + "up_proj.weight"] = t[e, :, f:].t().contiguous()
            else:
                out[expert + "down_proj.weight"] = t[e].t().contiguous()
        if last not in ("w_gate_up", "w_down"):
            out[name] = t.contiguous()
    return out


def from_hf_state(model, hf):
    """Fills a Model from tensors by checkpoint names."""
    c, own = model.c, model.state_dict()
    for name, into in own.items():
        n = hf_name(name, c.num_hidden_layers)
        base, _, last = n.rpartition(".")
        part = [f"{base}.experts.{e}." for e in range(c.n_routed_experts)]
        if last == "w_gate_up":
            t = torch.stack([torch.cat((hf[p + "gate_proj.weight"].t(), hf[p + "up_proj.weight"].t()), 1) for p in part])
        elif last == "w_down":
            t = torch.stack([hf[p + "down_proj.weight"].t() for p in part])
        else:
            t = hf[n]
        into.copy_(t.to(into.dtype))


def write(tensors, config, path, shard=15 << 20):
    """config.json, model-0000x-of-0000y.safetensors and the index; older shards in the folder are removed."""
    os.makedirs(path, exist_ok=True)
    for f in os.listdir(path):
        if f.endswith(".safetensors") or f == INDEX:
            os.remove(os.path.join(path, f))
    shards, size, total = [{}], 0, 0
    for n, t in tensors.items():
        n_bytes = t.numel() * t.element_size()
        if size + n_bytes > shard and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][n] = t
        size += n_bytes
        total += n_bytes
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    for i, s in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        save_file(s, os.path.join(path, name), metadata={"format": "pt"})
        os.chmod(os.path.join(path, name), 0o644)  # save_file leaves them to the owner alone
        index["weight_map"].update({n: name for n in s})
    for name, d in ((INDEX, {**index, "weight_map": dict(sorted(index["weight_map"].items()))}), ("config.json", config)):
        with open(os.path.join(path, name), "w") as f:
            json.dump(d, f, indent=1)
            f.write("\n")


def save_hf(model, path, dtype=torch.bfloat16, shard=15 << 20):
    """A Model as a folder; the routing bias stays F32."""
    write({n: t.cpu().to(torch.float32 if n.endswith("e_score_correction_bias") else dtype) for n, t in hf_state(model).items()}, model.c.hf(), path, shard)


def read(path):
    """(config, tensors by name) of a folder, as stored: FP8 is not dequantised. Shards are what the index lists, else `model.safetensors`."""
    with open(os.path.join(path, "config.json")) as f:
        config = json.load(f)
    shards = ["model.safetensors"]
    if os.path.exists(os.path.join(path, INDEX)):
        with open(os.path.join(path, INDEX)) as f:
            shards = sorted(set(json.load(f)["weight_map"].values()))
    tensors = {}
    for f in shards:
        tensors.update(load_file(os.path.join(path, f)))
    return config, tensors


def dequantised(tensors):
    """The tensors with every F8_E4M3 matrix multiplied out to float32."""
    out = {}
    for n, t in tensors.items():
        if t.dtype == torch.float8_e4m3fn:
            out[n] = fp8.dequantise(t, tensors[n + "_scale_inv"])
        elif not n.endswith("_scale_inv"):
            out[n] = t
    return out


def load_hf(path, device="cpu"):
    config, tensors = read(path)
    model = Model(Config.from_hf(config))
    from_hf_state(model, dequantised(tensors))
    return model.to(device)
