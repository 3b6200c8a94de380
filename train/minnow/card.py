"""Fills card.md with the figures of a file of results.

    python card.py RESULTS.json MODEL_DIR --label int4 --training training.md --data data.md \\
        --limits limits.md --hidden hidden.md > ../../models/minnow/README.md

A field {{name}} without a figure is an error: the card states what was measured, or the sentence
goes.
"""

import argparse
import json
import os
import re

from evaluation import prompts, report

HERE = os.path.dirname(os.path.abspath(__file__))


def quote(text):
    return "\n".join("> " + line if line else ">" for line in text.strip().splitlines()) or "> (nothing)"


def requests(stored):
    """The answers of the first requests, as they came."""
    out = []
    for name, x in stored.items():
        thinking = f"It thinks:\n\n{quote(x['reasoning'])}\n\nand answers:\n\n" if x["reasoning"] else ""
        out.append(f"{name}, `\"seed\": {x['seed']}`:\n\n{thinking}{quote(x['content'])}")
    return "\n\n".join(out)


def experts(c):
    if c["first_k_dense_replace"] >= c["num_hidden_layers"]:
        return "all with a dense MLP; `--model fixture` has a mixture of experts"
    return f"the first {c['first_k_dense_replace']} with a dense MLP, the others with {c['n_routed_experts']} experts, top-{c['num_experts_per_tok']}"


def speed(x):
    return (f"From the start of `serve` to the end of the first answer: {x['first_answer_s']} s.\nFirst token of a prompt of {x['prompt_tokens']:,} tokens on two cores: {x['first_token_s']} s.\n"
            f"One request on one core: {x['tokens_per_s']} tokens a second.")


def fields(data, config, label, files):
    """The values of all fields."""
    model = data["models"][label]
    return {"program": model["program"], "label": label, "sha256": model["sha256"], "megabytes": f"{model['bytes'] / 1e6:.1f}", "requests": requests(data["requests"][label]),
            "hidden_size": config["hidden_size"], "layers": config["num_hidden_layers"], "experts": experts(config), "heads": config["num_attention_heads"], "kv_rank": config["kv_lora_rank"],
            "nope": config["qk_nope_head_dim"], "rope": config["qk_rope_head_dim"], "values": config["v_head_dim"], "index_heads": config["index_n_heads"], "index_dim": config["index_head_dim"],
            "topk": config["index_topk"], "context": f"{config['max_position_embeddings']:,}", "vocabulary": f"{config['vocab_size']:,}", "loss": report.losses(data, True, title=False),
            "needles": report.needle_table(data, True, title=False), "prompts": report.prompt_table(data, prompts.load(), [1, 2, 3], label, True, title=False), "speed": speed(data["speed"][label])} | files


def fill(template, values):
    lacking = sorted(set(re.findall(r"\{\{(\w+)\}\}", template)) - set(values))
    if lacking:
        raise SystemExit(f"no values for {', '.join(lacking)}")
    return re.sub(r"\{\{(\w+)\}\}", lambda m: str(values[m[1]]), template)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("results")
    ap.add_argument("model", help="folder of the shipped checkpoint")
    ap.add_argument("--label", default="int4", help="its label in the results")
    ap.add_argument("--parameters", required=True, help="as `cachalot inspect` prints it")
    ap.add_argument("--training", required=True, help="Markdown file: how it was trained")
    ap.add_argument("--data", required=True, help="Markdown file: table of the data and its licences")
    ap.add_argument("--limits", required=True, help="Markdown file: what is not reached, and what was tried")
    ap.add_argument("--hidden", required=True, help="Markdown file: score of a second set of prompts")
    a = ap.parse_args()
    read = lambda path: open(path, encoding="utf-8").read().strip()
    files = {"training": read(a.training), "data": read(a.data), "limits": read(a.limits), "hidden": read(a.hidden), "parameters": a.parameters}
    values = fields(json.loads(read(a.results)), json.loads(read(os.path.join(a.model, "config.json"))), a.label, files)
    print(fill(read(os.path.join(HERE, "card.md")), values))


if __name__ == "__main__":
    main()
