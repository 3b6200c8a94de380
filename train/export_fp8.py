"""Turn a bf16 checkpoint folder into the FP8 form of the released models, and say what that cost.

    python export_fp8.py run/sparse ../models/fixture

The matrices named in fp8.py become F8_E4M3 with F32 multipliers, `k_norm` and the routing bias F32, and everything else stays
bf16. The result is read back, dequantised and compared with the source. Tokenizer and generation config are copied along.
"""

import argparse
import json
import os
import shutil

import torch

import checkpoint
import fp8

QUANTIZATION_CONFIG = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [fp8.BLOCK, fp8.BLOCK]}
KEPT_F32 = ("e_score_correction_bias", "k_norm.weight", "k_norm.bias")
FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models", "fixture")
BESIDE = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def export(tensors):
    """The tensors of the FP8 checkpoint, by name."""
    out = {}
    for n, t in tensors.items():
        if fp8.is_quantised(n):
            out[n], out[n + "_scale_inv"] = fp8.quantise(t)
        else:
            out[n] = t.to(torch.float32 if n.endswith(KEPT_F32) else torch.bfloat16)
    return out


def errors(source, tensors):
    """Relative errors of the quantised matrices against the source: (norm of the error, largest error of a normal number, share of bytes that are zero)."""
    square = total = zeros = count = 0.0
    worst = 0.0
    for n, t in checkpoint.dequantised(tensors).items():
        if not fp8.is_quantised(n):
            if not torch.equal(t.float(), source[n].float()):
                raise ValueError(f"{n} is not quantised, yet differs from the source")
            continue
        w = source[n].float()
        e = (t - w).abs()
        square, total = square + float(e.double().square().sum()), total + float(w.double().square().sum())
        normal = w.abs() >= 2.0 ** -6 * fp8.spread(tensors[n + "_scale_inv"], w.shape)
        worst = max(worst, float((e / w.abs())[normal].max()))
        zeros, count = zeros + float((t == 0).sum()), count + t.numel()
    return (square / total) ** 0.5, worst, zeros / count


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("source", help="bf16 checkpoint folder")
    ap.add_argument("out", help="folder to write")
    ap.add_argument("--beside", default=os.path.dirname(os.path.abspath(__file__)), help="folder of tokenizer and generation config, where the source has none")
    a = ap.parse_args()
    if os.path.realpath(a.source) == os.path.realpath(a.out):
        ap.error("source and out must be two folders")
    config, source = checkpoint.read(a.source)
    if "quantization_config" in config:
        ap.error(f"{a.source} is quantised already")
    checkpoint.write(export(source), {**config, "quantization_config": QUANTIZATION_CONFIG}, a.out)
    for f in BESIDE:
        found = next(p for p in (os.path.join(d, f) for d in (a.source, a.beside, FIXTURE)) if os.path.exists(p))
        if os.path.realpath(found) != os.path.realpath(os.path.join(a.out, f)):
            shutil.copyfile(found, os.path.join(a.out, f))

    tokenizer_config = os.path.join(a.out, "tokenizer_config.json")
    with open(tokenizer_config) as f:
        d = json.load(f)
    with open(tokenizer_config, "w") as f:
        json.dump({**d, "model_max_length": config["max_position_embeddings"]}, f, indent=1, ensure_ascii=False)
        f.write("\n")

    norm, worst, zeros = errors(source, checkpoint.read(a.out)[1])
    n_bytes = sum(os.path.getsize(os.path.join(a.out, f)) for f in os.listdir(a.out) if f.endswith(".safetensors"))
    print(f"{sum(t.numel() for t in source.values()):,} parameters, {n_bytes:,} bytes of weights")
    print(f"quantised matrices: error {norm:.4%} of the norm, largest error of a normal number {worst:.4%} (bound 6.25%), zero bytes {zeros:.3%}")


if __name__ == "__main__":
    main()
