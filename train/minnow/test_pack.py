"""What training multiplies by is what the program packs: python test_pack.py CACHALOT

Matrices of the fixture, every second one with an adapter through the rounding and the others with moved scales and offsets, packed in int4 and read again."""

import os
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

import adapter  # noqa: F401  (the path of train/)
import checkpoint
import packed
import rounding

FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "models", "fixture")


def main(cachalot):
    torch.manual_seed(1)
    config, t = checkpoint.read(FIXTURE)
    config.pop("quantization_config", None)
    t = {n: w.float() if w.dim() == 2 else w for n, w in checkpoint.dequantised(t).items()}
    names = [n for n, w in t.items() if n.endswith(("o_proj.weight", "gate_proj.weight", "kv_a_proj_with_mqa.weight")) and w.shape[1] % rounding.GROUP == 0][:6]
    want = {}
    for i, n in enumerate(names):
        w = t[n] * (adapter.TINY if "kv_a" in n else 1)
        x, a, b = torch.randn(5, w.shape[1]), torch.randn(4, w.shape[1]) * 0.1, torch.randn(w.shape[0], 4) * w.std()
        with torch.no_grad():
            if i % 2:
                g = rounding.Grid.of(rounding.nearest(t[n]))
                g.moved += torch.randn_like(g.moved) * 0.1
                t[n] = g.weights()
                y = F.linear(x, g.weights())
            else:
                t[n] = rounding.nearest(w + b @ a)
                y = rounding.straight_through(x, t[n], a, b)
        want[n] = x, y
    with tempfile.TemporaryDirectory() as d:
        src, dst = os.path.join(d, "f32"), os.path.join(d, "int4")
        checkpoint.write(t, config, src)
        for f in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            with open(os.path.join(FIXTURE, f), "rb") as i, open(os.path.join(src, f), "wb") as o:
                o.write(i.read())
        subprocess.run([cachalot, "pack", src, dst, "--weights", "int4"], check=True, stdout=subprocess.DEVNULL)
        stored, _ = packed.read(dst)
    for n, (x, y) in want.items():
        got = packed.weights(stored, n.removesuffix(".weight"))
        assert torch.equal(got, t[n]), (n, float((got - t[n]).abs().max()))
        assert torch.equal(F.linear(x, got), y), n
    print(f"ok: {len(want)} matrices as trained")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
