"""Measures a checkpoint of Minnow, its packed forms and its source; prints one table.

    python evaluate.py RESULTS.json --cachalot ../../target/release/cachalot --source SmolLM2-135M-Instruct.Q4_1.gguf --corpus ../corpus \\
        --model DIR --packed int8=DIR --packed int4=DIR

Parts, of which --parts chooses some (all by default):

    prompts    the sixty prompts through the server at its default settings, three seeds; and the source's answers
    loss       held-out text and conversations: source, dense and sparse at 2K, 4K, 8K; packed forms at 2K
    needles    needles at 2K and 8K, dense and sparse
    requests   the first request of README.md, and the requests of a service's guide, with their seed
    speed      start, first token of a prompt of 1K tokens, tokens a second

Each measurement is stored in RESULTS.json as soon as it is made; the same command continues a
stopped run. The prompts are answered by the last packed form, else by the model; --answers LABEL
chooses another. --table prints what is stored, --format markdown for the card.
"""

import argparse
import json

from evaluation import chatml, checks, held_out, needles, prompts, report, requests, score
from evaluation.results import Results, short_hash
from evaluation.server import Server

PARTS = ("prompts", "loss", "needles", "requests", "speed")


def arguments():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("results", help="JSON file of results, made or continued")
    ap.add_argument("--cachalot", default="../../target/release/cachalot", help="the program")
    ap.add_argument("--model", help="checkpoint folder in bf16; its label is `bf16`")
    ap.add_argument("--packed", action="append", default=[], metavar="LABEL=DIR", help="a packed form of it; may be repeated")
    ap.add_argument("--source", help="GGUF file of the source; left out without it")
    ap.add_argument("--corpus", default="../corpus")
    ap.add_argument("--parts", default=",".join(PARTS), help="parts to measure")
    ap.add_argument("--answers", help="label of the form that answers the prompts")
    ap.add_argument("--prompts", default=None, help="another file of prompts")
    ap.add_argument("--seeds", default="1,2,3")
    ap.add_argument("--request", default="{}", help="JSON object of settings that are added to the requests, for comparison with the defaults")
    ap.add_argument("--lengths", default="2048,4096,8192")
    ap.add_argument("--rows", default="24,8,4", help="rows of each length, for text; half as many for conversations")
    ap.add_argument("--needles", default="2048:50,8192:24", help="LENGTH:NUMBER,...")
    ap.add_argument("--score-args", default="", help="arguments of `cachalot score` in place of the arithmetic of `serve`")
    ap.add_argument("--threads", type=int, help="compute threads of the program and of PyTorch")
    ap.add_argument("--table", action="store_true", help="only print the table")
    ap.add_argument("--failures", action="store_true", help="print the answers that do not pass, too")
    ap.add_argument("--format", choices=("text", "markdown"), default="text")
    a = ap.parse_args()
    a.seeds = [int(s) for s in a.seeds.split(",")]
    a.parts = a.parts.split(",")
    a.lengths = dict(zip(map(int, a.lengths.split(",")), map(int, a.rows.split(","))))
    a.needles = {int(n): int(k) for n, k in (x.split(":") for x in a.needles.split(","))}
    a.folders = ({"bf16": a.model} if a.model else {}) | dict(x.split("=", 1) for x in a.packed)
    a.answers = a.answers or next(reversed(a.folders), None)
    a.score_args = a.score_args.split()
    if unknown := set(a.parts) - set(PARTS):
        ap.error(f"unknown parts {sorted(unknown)}")
    if not a.table and not a.folders:
        ap.error("--model or --packed names what to measure")
    return a


class Evaluation:
    def __init__(self, a):
        self.a, self.results = a, Results(a.results)
        self.prompts = prompts.load(a.prompts) if a.prompts else prompts.load()
        self.loaded_source = None

    def tokenizer(self):
        from tokenizers import Tokenizer
        return Tokenizer.from_file(f"{next(iter(self.a.folders.values()))}/tokenizer.json")

    def source(self):
        """The source in PyTorch, or None without --source."""
        if self.a.source and not self.loaded_source:
            import torch
            from evaluation.source import Source
            if self.a.threads:
                torch.set_num_threads(self.a.threads)
            self.loaded_source = Source(self.a.source)
        return self.loaded_source

    def measure(self):
        if self.a.source:
            self.results.set_model("source", self.a.source)
        for label, folder in self.a.folders.items():
            self.results.set_model(label, folder, score.version(self.a.cachalot))
        for part in self.a.parts:
            getattr(self, "measure_" + part)()

    def measure_prompts(self):
        a, label = self.a, self.a.answers
        more = json.loads(a.request)
        with Server(a.cachalot, a.folders[label], a.threads) as server:
            prompts.answer_all(self.results, label, self.prompts, a.seeds, lambda group: map(server.ask, [body for body, _ in group]), more)
        if source := self.source():
            tok = self.tokenizer()
            prompts.answer_all(self.results, "source", [chatml.renamed(p) for p in self.prompts], a.seeds, lambda group: source.answers(tok, group), {}, at_once=20)

    def measure_loss(self):
        a, tok = self.a, self.tokenizer()
        for length, n in a.lengths.items():
            text = held_out.text_rows(tok, a.corpus, length, n)
            chat = held_out.chat_rows(tok, a.corpus, length, max(2, n // 2))
            sets = {"text": (text, text), "chat": ([x for x, _ in chat], [y for _, y in chat])}
            for kind, (rows, source_rows) in sets.items():
                for label in a.folders:
                    if label == "bf16" or length == min(a.lengths):
                        for attention in ("dense", "sparse"):
                            self.score_rows(label, f"{kind}/{length}/{attention}", rows, attention)
                if a.source:
                    self.score_source(f"{kind}/{length}/dense", source_rows)

    def missing(self, part, label, name, rows):
        """The stored object of a set, and the rows which are not in it yet, by their keys. Rows that the
        set no longer has are removed, so that all forms are compared on the same ones."""
        keys = {short_hash(ids): i for i, (ids, *_) in enumerate(rows)}
        stored = self.results.part(part, label, name)
        for key in set(stored) - set(keys):
            del stored[key]
        return stored, {key: i for key, i in keys.items() if key not in stored}

    def scored(self, label, rows, todo, attention):
        """(key, row, scores by the program) of the rows `todo`."""
        a = self.a
        got = score.score(a.cachalot, a.folders[label], [rows[i][0] for i in todo.values()], attention, a.score_args, a.threads) if todo else ()
        return ((key, rows[i], x) for (key, i), x in zip(todo.items(), got))

    def score_rows(self, label, name, rows, attention):
        stored, todo = self.missing("loss", label, name, rows)
        for key, (_, mask), got in self.scored(label, rows, todo, attention):
            stored[key] = held_out.sums([p for _, p in got], mask)
            self.results.save()
        print(f"loss {label} {name}: {held_out.mean(stored)[0]:.4f}", flush=True)

    def score_source(self, name, rows):
        stored, todo = self.missing("loss", "source", name, rows)
        for key, i in todo.items():
            stored[key] = held_out.sums([p for _, p in self.source().score(rows[i][0])], rows[i][1])
            self.results.save()
        print(f"loss source {name}: {held_out.mean(stored)[0]:.4f}", flush=True)

    def measure_needles(self):
        a, tok = self.a, self.tokenizer()
        label = "bf16" if "bf16" in a.folders else a.answers
        for length, n in a.needles.items():
            items = needles.items(tok, a.corpus, length, n)
            for attention in ("dense", "sparse"):
                stored, todo = self.missing("needles", label, f"{length}/{attention}", items)
                for key, (ids, _, value), got in self.scored(label, items, todo, attention):
                    stored[key] = needles.found(ids, value, got)
                    self.results.save()
                print(f"needles {label} {length}/{attention}: {sum(stored.values())} of {len(stored)}", flush=True)
            if a.source and length == min(a.needles):
                stored, todo = self.missing("needles", "source", f"{length}/dense", items)
                for key, i in todo.items():
                    _, ids, value = items[i]
                    stored[key] = needles.found(ids, value, self.source().score(ids))
                    self.results.save()
                print(f"needles source {length}/dense: {sum(stored.values())} of {len(stored)}", flush=True)

    def measure_requests(self):
        a, label = self.a, self.a.answers
        stored = self.results.part("requests", label)
        with Server(a.cachalot, a.folders[label], a.threads) as server:
            for name, path, body in requests.REQUESTS:
                stored[name] = requests.send(server, path, body | {"seed": a.seeds[0]})
                self.results.save()
                print(f"{name}: {stored[name]['content']!r}", flush=True)

    def measure_speed(self):
        a, label = self.a, self.a.answers
        self.results.part("speed", label).update(requests.speed(a.cachalot, a.folders[label]))
        self.results.save()


def main():
    a = arguments()
    evaluation = Evaluation(a)
    if not a.table:
        evaluation.measure()
    print(report.report(evaluation.results.data, evaluation.prompts, a.seeds, a.answers, a.format))
    if a.failures:
        report.print_failures(evaluation.results.data["answers"][a.answers], evaluation.prompts, checks.failures)


if __name__ == "__main__":
    main()
