"""cachalot's numbers of a packed folder beside PyTorch's, in f32, dense and sparse, on a row of held-out text.

    python compare.py PACKED --cachalot ../../target/release/cachalot [--length 1024]

Prints for both kinds of attention the largest difference of the log-probabilities of the text's own tokens, and at how many positions
the first choice is the same. It fails where a difference is larger than --most, or where a choice differs."""

import argparse

import torch

import converted
import packed
import source
from evaluation import score

F32 = ["--compute", "f32", "--cache", "f32", "--index", "f32"]


def unpacked(folder):
    """(float32 tensors by name, config): packed matrices as docs/packed-weights.md defines them, the head with its own rows."""
    stored, config = packed.read(folder)
    t = {}
    for name, x in stored.items():
        if name.endswith(".weight_factor"):
            base = name.removesuffix(".weight_factor")
            t[base + ".weight"] = packed.weights(stored, base)
        elif name.endswith((".weight", ".bias")) and x.is_floating_point():
            t[name] = x.float()
    head = t["model.embed_tokens.weight"].clone()
    head[stored["lm_head.row_ids"].long()] = stored["lm_head.rows"].float()
    return t | {"lm_head.weight": head}, config


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("packed")
    ap.add_argument("--cachalot", default="../../target/release/cachalot")
    ap.add_argument("--length", type=int, default=1024)
    ap.add_argument("--most", type=float, default=1e-3)
    a = ap.parse_args()
    torch.set_num_threads(1)
    t, config = unpacked(a.packed)
    ids = source.test_rows()[3][: a.length]
    worst, same = 0.0, True
    for attention, topk in (("dense", 0), ("sparse", config["index_topk"])):
        with torch.no_grad():
            y = (converted.forward(t, config, ids, topk)[:-1] @ t["lm_head.weight"].t()).log_softmax(-1)
        (row,) = score.score(a.cachalot, a.packed, [ids.tolist()], attention, F32)
        off = float((y.gather(1, ids[1:, None])[:, 0] - torch.tensor([p for _, p in row])).abs().max())
        equal = int((y.argmax(-1) == torch.tensor([i for i, _ in row])).sum())
        print(f"{attention}: log-probabilities differ by at most {off:.1e}; the same first choice at {equal} of {len(row)} positions", flush=True)
        worst, same = max(worst, off), same and equal == len(row)
    if worst > a.most or not same:
        raise SystemExit("the two do not agree")


if __name__ == "__main__":
    main()
