"""The mean of adapters that were trained on the same quants (`finetune.py train --grid`): of scales, offsets, LoRA and control rows.

    python mean.py OUT.safetensors A.safetensors B.safetensors ...

A snapshot of a high learning rate knows what is new and has forgotten some of the old; its mean with an earlier, annealed one keeps more of both than either."""

import argparse

from safetensors import safe_open
from safetensors.torch import save_file


def mean(paths):
    """(tensors, metadata of the first). Raises ValueError if the quants differ."""
    total, formats, meta = {}, {}, None
    for path in paths:
        with safe_open(path, "pt") as f:
            meta = meta or f.metadata()
            for k in f.keys():
                x = f.get_tensor(k)
                formats.setdefault(k, x.dtype)
                if k.endswith(".quants"):
                    if k in total and not bool((total[k] == x).all()):
                        raise ValueError(f"the quants `{k}` of `{path}` are not those of `{paths[0]}`")
                    total[k] = x
                else:
                    total[k] = total.get(k, 0) + x.float() / len(paths)
    return {k: x.to(formats[k]).contiguous() for k, x in total.items()}, meta


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out")
    ap.add_argument("adapters", nargs="+")
    a = ap.parse_args()
    tensors, meta = mean(a.adapters)
    save_file(tensors, a.out, metadata=meta)


if __name__ == "__main__":
    main()
