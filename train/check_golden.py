"""Compare model.py with folders of golden logits: python check_golden.py ../tests/golden/v32-bf16 ../tests/golden/v32-fp8

Prints the relative error of every logits tensor and fails when one exceeds 1e-4. (The folders' README says what is in them.)
"""

import gzip
import os
import sys

import torch
from safetensors.torch import load

import checkpoint

BOUND = 1e-4


def check(path):
    """Prints the errors of one folder; returns the largest."""
    net = checkpoint.load_hf(path).eval()
    with gzip.open(os.path.join(path, "golden.safetensors.gz")) as packed:
        gold = load(packed.read())
    net.chunk, worst = 64, 0.0

    def compare(name, got):
        nonlocal worst
        want = gold[name]
        error = float((got - want).norm() / want.norm())
        worst = max(worst, error)
        print(f"{name} {tuple(want.shape)} relative error {error:.1e}, same argmax {float((got.argmax(-1) == want.argmax(-1)).float().mean()):.3f}")

    with torch.no_grad():
        for n in range(4):
            ids = gold[f"seq{n}.input_ids"][None]
            for mode, name in (("sparse", "logits"), ("dense", "logits_dense")):
                if f"seq{n}.{name}" not in gold:
                    continue
                net.mode = mode
                h, _, _ = net.hidden(ids)
                compare(f"seq{n}.{name}", net.lm_head(h)[0])
                if mode == "sparse" and f"seq{n}.mtp_logits" in gold:
                    compare(f"seq{n}.mtp_logits", net.lm_head(net.mtp_hidden(h[:, :-1], ids[:, 1:])[0])[0])
    return worst


if __name__ == "__main__":
    torch.set_num_threads(1)
    worst = max(check(p) for p in sys.argv[1:]) if sys.argv[1:] else sys.exit(__doc__)
    sys.exit(0 if worst <= BOUND else f"the largest error, {worst:.1e}, is above {BOUND}")
