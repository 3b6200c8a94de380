"""The table of the results, as text or as Markdown for the card."""

from . import chatml, held_out, prompts


def rows_of(text, head, rows, markdown):
    """A table with a title, its columns aligned."""
    cells = [list(map(str, r)) for r in [head, *rows]]
    width = [max(len(r[i]) for r in cells) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(c.ljust(w) for c, w in zip(r, width)) + " |" if markdown else "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, width))).rstrip()
    rule = ["|" + "|".join("-" * (w + 2) for w in width) + "|"] if markdown else []
    return "\n".join(([text, ""] if text else []) + [line(cells[0]), *rule, *map(line, cells[1:])])


def losses(data, markdown=False, title=True):
    """Held-out losses: one line for each of source, dense, sparse and the packed forms."""
    stored = data.get("loss", {})
    sets = sorted({(kind, int(length)) for x in stored.values() for kind, length, _ in (name.split("/") for name in x)}, key=lambda s: (s[0] != "text", s[1]))
    rows = []
    for label in sorted(stored, key=lambda x: (x != "source", x != "bf16")):
        for attention in ("dense",) if label == "source" else ("dense", "sparse"):
            cells = [held_out.mean(x)[0] if (x := stored[label].get(f"{kind}/{length}/{attention}")) else None for kind, length in sets]
            if any(c is not None for c in cells):
                rows.append([label if label == "source" else f"{label}, {attention}", *("" if c is None else f"{c:.4f}" for c in cells)])
    return rows_of("Held-out loss, nats a token" if title else "", ["", *(f"{kind} {length // 1024}K" for kind, length in sets)], rows, markdown)


def needle_table(data, markdown=False, title=True):
    stored = data.get("needles", {})
    names = sorted({name for x in stored.values() for name in x}, key=lambda n: (int(n.split("/")[0]), n))
    rows = [[label, *(f"{sum(x.values())} of {len(x)}" if (x := stored[label].get(name)) else "" for name in names)] for label in stored]
    return rows_of("Needles found" if title else "", ["", *(f"{int(n.split('/')[0]) // 1024}K {n.split('/')[1]}" for n in names)], rows, markdown)


def percent(passed, run):
    return f"{100 * passed / run:.0f} %" if run else ""


def prompt_table(data, all_prompts, seeds, label, markdown=False, title=True):
    """Passed prompts by kind and seed, and of the source beside them."""
    answers = data.get("answers", {})
    mine = prompts.scores(answers.get(label, {}), all_prompts, seeds)
    theirs = prompts.scores(answers["source"], [chatml.renamed(p) for p in all_prompts], seeds) if "source" in answers else {}
    rows = []
    for kind, row in mine.items():
        cells = []
        for r in (row, theirs.get(kind)):
            if r is not None:
                cells += [f"{p}/{n}" if n else "" for p, n in r.values()] + [percent(sum(p for p, _ in r.values()), sum(n for _, n in r.values()))]
        rows.append([kind, *cells])
    head = ["kind", *(f"seed {s}" for s in seeds), label] + ([*(f"seed {s}" for s in seeds), "source"] if theirs else [])
    return rows_of("Prompts passed" if title else "", head, rows, markdown)


def report(data, all_prompts, seeds, label, form="text"):
    markdown = form == "markdown"
    parts = []
    if data.get("loss"):
        parts.append(losses(data, markdown))
    if data.get("needles"):
        parts.append(needle_table(data, markdown))
    label = label or next((x for x in reversed(data.get("answers", {})) if x != "source"), None)
    if label and data.get("answers", {}).get(label):
        parts.append(prompt_table(data, all_prompts, seeds, label, markdown))
    for label, x in data.get("speed", {}).items():
        parts.append(f"Speed of {label}: first answer {x['first_answer_s']} s after the start, first token of {x['prompt_tokens']} tokens after {x['first_token_s']} s on two cores, {x['tokens_per_s']} tokens/s on one core")
    return "\n\n".join(parts)


def print_failures(stored, all_prompts, failures):
    for p in all_prompts:
        for seed, answer in stored.get(p["id"], {}).items():
            if reasons := failures(p, answer):
                print(f"\n{p['id']}, seed {seed}: {'; '.join(reasons)}\n    {answer.get('reasoning') or ''} {answer.get('content')!r} {answer.get('calls') or ''}")
