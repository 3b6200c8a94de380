"""Held-out loss of a checkpoint's weight formats, and how often they choose the token that the reference chooses in f32.

    python formats.py --cachalot ../../target/release/cachalot --corpus ../corpus work/sparse fp8=DIR int8=DIR int4=DIR    # the reference first

Prints one line for each, of text of the held-out records; attention is sparse, as `serve` computes it."""

import argparse

from tokenizers import Tokenizer

from evaluation import held_out, score


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("reference", help="checkpoint folder, computed in f32")
    ap.add_argument("forms", nargs="+", metavar="LABEL=DIR", help="forms of it, computed as `serve` computes them")
    ap.add_argument("--cachalot", default="../../target/release/cachalot")
    ap.add_argument("--corpus", default="../corpus")
    ap.add_argument("--length", type=int, default=2048)
    ap.add_argument("--rows", type=int, default=4)
    ap.add_argument("--threads", type=int)
    a = ap.parse_args()
    rows = [ids for ids, *_ in held_out.text_rows(Tokenizer.from_file(f"{a.reference}/tokenizer.json"), a.corpus, a.length, a.rows)]

    def scores(folder, more):
        """(most likely token, log-probability of the text's own) of all positions."""
        return [x for row in score.score(a.cachalot, folder, rows, "sparse", more, a.threads) for x in row]

    exact = scores(a.reference, ["--compute", "f32", "--cache", "f32", "--index", "f32"])
    print(f"{'f32':12} loss {-sum(p for _, p in exact) / len(exact):.4f}  ({len(exact)} positions)", flush=True)
    for form in a.forms:
        label, folder = form.split("=", 1)
        got = scores(folder, score.AS_SERVED)
        same = sum(x[0] == y[0] for x, y in zip(exact, got)) / len(exact)
        print(f"{label:12} loss {-sum(p for _, p in got) / len(got):.4f}  same choice {100 * same:.1f} %", flush=True)


if __name__ == "__main__":
    main()
