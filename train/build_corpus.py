"""Turn git clones of public data repositories into the compact corpus parts.

    python build_corpus.py --mirror DIR --clone     # once: 15 repositories and 41 books
    python build_corpus.py --mirror DIR --out corpus

The mirror folder holds bare git clones as OWNER+NAME/repo. Only data files are read, at the commits below; CORPUS.md names the
licences.
Every part is JSON lines, xz-compressed: {"t": text} for plain documents,
{"m": [messages], "f": [tools]} for conversations (see chat_format.py), or
{"q", "a", ...} records which data.py turns into conversations.
"""

import argparse
import hashlib
import html
import io
import json
import lzma
import os
import random
import re
import subprocess
import sys


# The commits the corpus was made of. Books are public-domain texts and are taken as they are now.
COMMITS = {
    "Vibhas-hs-edu/WikiTasks": "52b1f163",
    "google-research-datasets/dstc8-schema-guided-dialogue": "e852981a",
    "google-research-datasets/Taskmaster": "d92cb6af",
    "alexa/Topical-Chat": "7c939229",
    "Yale-LILY/QMSum": "83d7768c",
    "openai/grade-school-math": "3101c7d5",
    "arkilpatel/SVAMP": "689d7cca",
    "uberspot/OpenTriviaQA": "dd31530b",
    "wordset/wordset-dictionary": "4503bfaf",
    "nishkalavallabhi/OneStopEnglishCorpus": "37f8db39",
    "global-asp/asp-source": "99e02236",
    "google-deepmind/xquad": "7d30520c",
    "ShishirPatil/gorilla": "6ea57973",
    "rasbt/LLMs-from-scratch": "28c65cdf",
    "yizhongw/self-instruct": "0b26ccaa",
}
BOOKS = """
aesop_fables_v-s-vernon-jones anna-sewell_black-beauty arthur-conan-doyle_the-adventures-of-sherlock-holmes
arthur-conan-doyle_the-memoirs-of-sherlock-holmes arthur-conan-doyle_the-return-of-sherlock-holmes e-nesbit_five-children-and-it
e-nesbit_the-enchanted-castle e-nesbit_the-phoenix-and-the-carpet e-nesbit_the-railway-children e-nesbit_the-story-of-the-treasure-seekers
eleanor-h-porter_pollyanna frances-hodgson-burnett_a-little-princess frances-hodgson-burnett_little-lord-fauntleroy
frances-hodgson-burnett_the-secret-garden george-macdonald_at-the-back-of-the-north-wind george-macdonald_the-princess-and-the-goblin
h-g-wells_the-time-machine h-g-wells_the-war-of-the-worlds hugh-lofting_the-story-of-doctor-dolittle hugh-lofting_the-voyages-of-doctor-dolittle
j-m-barrie_peter-and-wendy jack-london_the-call-of-the-wild jack-london_white-fang jules-verne_around-the-world-in-eighty-days_george-makepeace-towle
kenneth-grahame_the-wind-in-the-willows l-frank-baum_ozma-of-oz l-frank-baum_the-marvelous-land-of-oz l-frank-baum_the-road-to-oz
l-frank-baum_the-wonderful-wizard-of-oz l-m-montgomery_anne-of-avonlea l-m-montgomery_anne-of-green-gables
lewis-carroll_alices-adventures-in-wonderland_john-tenniel lewis-carroll_through-the-looking-glass_john-tenniel louisa-may-alcott_little-women
mark-twain_the-adventures-of-huckleberry-finn mark-twain_the-adventures-of-tom-sawyer robert-louis-stevenson_kidnapped
robert-louis-stevenson_treasure-island_milo-winter rudyard-kipling_just-so-stories rudyard-kipling_the-jungle-book
selma-lagerlof_the-wonderful-adventures-of-nils_velma-swanston-howard
""".split()


def clone_path(mirror, name):
    return os.path.join(mirror, name.replace("/", "+"), "repo")


def clone(mirror, base):
    """Clones what the mirror folder lacks; an existing clone is left alone."""
    for name in [*COMMITS, *(f"standardebooks/{b}" for b in BOOKS)]:
        path = clone_path(mirror, name)
        if not os.path.exists(path):
            print("cloning", name, flush=True)
            subprocess.run(["git", "clone", "--quiet", "--bare", base + name, path], check=True)


class Repo:
    """Reads the files of one commit of one bare clone."""

    def __init__(self, mirror, name):
        self.git = clone_path(mirror, name)
        if os.path.isdir(os.path.join(self.git, ".git")):
            self.git = os.path.join(self.git, ".git")
        commit = COMMITS.get(name, "HEAD")
        run = subprocess.run(["git", "--git-dir", self.git, "ls-tree", "-r", "-l", "-z", commit], capture_output=True)
        if run.returncode:
            sys.exit(f"cannot read {commit} of {name} in {self.git} (run with --clone first): {run.stderr.decode('utf-8', 'replace').strip()}")
        out = run.stdout.decode("utf-8", "replace")
        self.files = {}
        for row in out.split("\0"):
            if "\t" in row:
                meta, path = row.split("\t", 1)
                _, _, sha, size = meta.split()
                if size.isdigit():  # a file that the clone lacks has no size
                    self.files[path] = sha

    def text(self, path):
        raw = subprocess.run(["git", "--git-dir", self.git, "cat-file", "blob", self.files[path]],
                             capture_output=True, check=True).stdout
        return raw.decode("utf-8", "replace")

    def match(self, pattern):
        rx = re.compile(pattern)
        return sorted(p for p in self.files if rx.search(p))


def tidy(s):
    s = s.replace("\u00a0", " ").replace("\u2060", "").replace("\u200a", "").replace("\u00ad", "")
    s = s.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2014: " - ", 0x2013: "-", 0x2026: "...", 0x2011: "-"})
    s = re.sub(r"[ \t]+", " ", s)
    return re.sub(r"\n{3,}", "\n\n", s).strip()


def strip_markup(s):
    return tidy(html.unescape(re.sub(r"<[^>]+>", "", s)))


# ---------------------------------------------------------------- the sources

def books(mirror):
    for book in BOOKS:
        r = Repo(mirror, f"standardebooks/{book}")
        skip = ("colophon", "imprint", "titlepage", "uncopyright", "halftitle", "endnotes", "loi", "dedication", "toc")
        paths = [p for p in r.match(r"^src/epub/text/.*\.xhtml$") if not any(k in p for k in skip)]
        paths.sort(key=lambda p: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", p)])
        for p in paths:
            body = r.text(p).split("<body", 1)[-1].split(">", 1)[-1]
            body = re.sub(r"<a[^>]*noteref[^>]*>.*?</a>", "", body)
            paras = [strip_markup(x).replace("\n", " ") for x in re.findall(r"<(?:p|h[1-6])\b[^>]*>(.*?)</(?:p|h[1-6])>", body, re.S)]
            text = "\n".join(x for x in paras if x)
            if len(text) > 400:
                yield {"t": text}


def stories(mirror):
    r = Repo(mirror, "global-asp/asp-source")
    for p in r.match(r"^en/\d.*\.md$"):
        raw = r.text(p)
        lic = re.search(r"License:\s*\[?([^\]\n]+)", raw)
        if not lic or "NC" in lic.group(1).upper() or "BY" not in lic.group(1).upper():
            continue
        head = re.search(r"^#\s+(.+)$", raw, re.M)
        body = raw.split("\n##\n", 1)[-1]
        body = re.split(r"\n##\n\s*\*\s*License", body)[0]
        body = re.sub(r"^\s*\*\s*(License|Text|Illustration|Language|Translation|Adaptation).*$", "", body, flags=re.M)
        pages = [" ".join(x.split()) for x in re.split(r"\n##\n", body)]
        text = tidy("\n".join(x for x in pages if x))
        if len(text) > 200:
            yield {"t": (head.group(1).strip() + "\n" if head else "") + text}


def sgd(mirror):
    r = Repo(mirror, "google-research-datasets/dstc8-schema-guided-dialogue")
    for split in ("train", "dev", "test"):
        services = {s["service_name"]: s for s in json.loads(r.text(f"{split}/schema.json"))}
        for p in r.match(rf"^{split}/dialogues_\d+\.json$"):
            for d in json.loads(r.text(p)):
                tools = []
                for name in d["services"]:
                    s = services[name]
                    slots = {x["name"]: x for x in s["slots"]}
                    for it in s["intents"]:
                        props = {}
                        for k in list(it["required_slots"]) + list(it["optional_slots"]):
                            props[k] = {"type": "string", "description": slots[k]["description"]}
                        tools.append({"name": it["name"], "description": it["description"],
                                      "parameters": {"type": "object", "properties": props, "required": it["required_slots"]}})
                msgs = []
                for t in d["turns"]:
                    if t["speaker"] == "USER":
                        msgs.append({"role": "user", "content": t["utterance"]})
                        continue
                    for fr in t["frames"]:
                        if "service_call" in fr:
                            c = fr["service_call"]
                            msgs.append({"role": "assistant", "content": "", "tool_calls": [{"name": c["method"], "arguments": c["parameters"]}]})
                            msgs.append({"role": "tool", "content": json.dumps(fr.get("service_results", [])[:2])})
                    msgs.append({"role": "assistant", "content": t["utterance"]})
                yield {"m": msgs, "f": tools}


def taskmaster(mirror):
    r = Repo(mirror, "google-research-datasets/Taskmaster")
    for p in r.match(r"^TM-4-2024/data/.*\.json$"):
        for d in json.loads(r.text(p)):
            msgs = []
            for u in d["utterances"]:
                role = "user" if u["speaker"].lower() == "user" else "assistant"
                text = tidy(u["text"])
                if not text:
                    continue
                if msgs and msgs[-1]["role"] == role:
                    msgs[-1]["content"] += " " + text
                else:
                    msgs.append({"role": role, "content": text})
            if len(msgs) >= 2:
                yield {"m": msgs}


def topical(mirror):
    r = Repo(mirror, "alexa/Topical-Chat")
    for p in r.match(r"^conversations/.*\.json$"):
        for d in json.loads(r.text(p)).values():
            msgs = []
            for u in d["content"]:
                role = "user" if u["agent"] == "agent_1" else "assistant"
                if msgs and msgs[-1]["role"] == role:
                    msgs[-1]["content"] += " " + tidy(u["message"])
                else:
                    msgs.append({"role": role, "content": tidy(u["message"])})
            if msgs and msgs[0]["role"] == "assistant":
                msgs = msgs[1:]
            if len(msgs) > 3:
                yield {"m": msgs}


def gsm8k(mirror):
    r = Repo(mirror, "openai/grade-school-math")
    for line in r.text("grade_school_math/data/train.jsonl").splitlines():
        d = json.loads(line)
        steps, final = d["answer"].rsplit("####", 1)
        steps = re.sub(r"<<[^>]*>>", "", steps)
        yield {"q": tidy(d["question"]), "think": tidy(steps), "a": final.strip()}


def svamp(mirror):
    r = Repo(mirror, "arkilpatel/SVAMP")
    for d in json.loads(r.text("SVAMP.json")):
        a = d["Answer"]
        a = int(a) if float(a).is_integer() else a
        eq = d["Equation"].strip("( )").replace(".0", "")
        yield {"q": tidy(d["Body"]).rstrip(".") + ". " + tidy(d["Question"]), "think": f"{eq} = {a}", "a": str(a)}


def trivia(mirror):
    r = Repo(mirror, "uberspot/OpenTriviaQA")
    seen = set()
    for p in r.match(r"^categories/"):
        if p.endswith(("rated", "newest")):
            continue
        for block in r.text(p).split("#Q ")[1:]:
            q, _, rest = block.partition("\n^ ")
            lines = [x.strip() for x in rest.splitlines() if x.strip()]
            if not lines:
                continue
            q = tidy(" ".join(q.split()))
            opts = [x[2:].strip() for x in lines[1:] if re.match(r"^[A-E] ", x)]
            a = tidy(lines[0])
            if "\ufffd" in q + a or q in seen or len(q) > 220 or not q.endswith("?") or a.lower() in ("true", "false", "yes", "no"):
                continue
            seen.add(q)
            yield {"q": q, "a": a, "o": [tidy(o) for o in opts]}


def qmsum(mirror):
    r = Repo(mirror, "Yale-LILY/QMSum")
    for p in r.match(r"^data/ALL/(train|val|test)/.*\.json$"):
        d = json.loads(r.text(p))
        turns = []
        for u in d["meeting_transcripts"]:
            text = re.sub(r"\{[a-z]+\}", "", u["content"])
            text = re.sub(r" ([.,?!'])", r"\1", text)
            turns.append([u["speaker"], tidy(re.sub(r"\s+", " ", text))])
        qa = [[x["query"], tidy(x["answer"])] for x in d["general_query_list"]]
        qs = [[x["query"], tidy(x["answer"]), x.get("relevant_text_span", [])] for x in d["specific_query_list"]]
        yield {"turns": turns, "general": qa, "specific": qs}


def xquad(mirror):
    r = Repo(mirror, "google-deepmind/xquad")
    for art in json.loads(r.text("xquad.en.json"))["data"]:
        for para in art["paragraphs"]:
            yield {"ctx": tidy(para["context"]), "qa": [[q["question"], q["answers"][0]["text"]] for q in para["qas"]]}


def words(mirror):
    r = Repo(mirror, "wordset/wordset-dictionary")
    rng = random.Random(5)
    for p in r.match(r"^data/[a-z]\.json$"):
        for w, e in json.loads(r.text(p)).items():
            ms = [m for m in e.get("meanings", []) if m.get("def") and not m.get("labels")]
            if not ms or not w.isalpha() or len(w) > 12 or not w.islower():
                continue
            m = ms[0]
            if not m.get("example") and rng.random() < 0.75:
                continue
            rec = {"w": w, "d": tidy(m["def"]), "pos": m.get("speech_part", "")}
            if m.get("example"):
                rec["ex"] = tidy(m["example"])
            if m.get("synonyms"):
                rec["syn"] = m["synonyms"][:3]
            yield rec


def onestop(mirror):
    r = Repo(mirror, "nishkalavallabhi/OneStopEnglishCorpus")
    for p in r.match(r"^Texts-SeparatedByReadingLevel/Ele-Txt/.*\.txt$"):
        base = os.path.basename(p)[:-len("-ele.txt")]
        rec = {"ele": tidy(r.text(p).lstrip("\ufeff"))}
        for lv, d in (("int", "Int-Txt"), ("adv", "Adv-Txt")):
            q = f"Texts-SeparatedByReadingLevel/{d}/{base}-{lv}.txt"
            if q in r.files:
                rec[lv] = tidy(r.text(q).lstrip("\ufeff"))
        yield rec


def wiki(mirror):
    r = Repo(mirror, "Vibhas-hs-edu/WikiTasks")
    for p in r.match(r"^text/AA/wiki_\d+$"):
        for doc in re.findall(r"<doc [^>]*>\n(.*?)</doc>", r.text(p), re.S):
            text = tidy(html.unescape(doc))
            text = re.sub(r"\(\s*[;,]?\s*\)", "", text)
            text = re.sub(r" +", " ", text)
            if 700 <= len(text) <= 9000 and text.count("\n") < len(text) / 60:
                if sum(c > "\u024f" for c in text) < 0.01 * len(text):
                    yield {"t": text}


def instructions(mirror):
    r = Repo(mirror, "rasbt/LLMs-from-scratch")
    for d in json.loads(r.text("ch07/01_main-chapter-code/instruction-data.json")):
        yield {"q": tidy(d["instruction"]), "in": tidy(d["input"]), "a": tidy(d["output"])}
    r = Repo(mirror, "yizhongw/self-instruct")
    for path in ("data/seed_tasks.jsonl", "human_eval/user_oriented_instructions.jsonl"):
        for line in r.text(path).splitlines():
            d = json.loads(line)
            for i in d["instances"]:
                if len(i["output"]) < 1500:
                    yield {"q": tidy(d["instruction"]), "in": i["input"].strip(), "a": i["output"].strip()}


def bfcl(mirror):
    r = Repo(mirror, "ShishirPatil/gorilla")
    base = "berkeley-function-call-leaderboard/bfcl_eval/data/"

    def schema(x):
        if isinstance(x, dict):
            return {k: ({"dict": "object", "float": "number", "tuple": "array"}.get(v, v) if k == "type" and isinstance(v, str) else schema(v))
                    for k, v in x.items()}
        return [schema(v) for v in x] if isinstance(x, list) else x

    for kind in ("simple_python", "multiple", "parallel", "parallel_multiple", "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"):
        truth = {}
        for line in r.text(base + f"possible_answer/BFCL_v4_{kind}.json").splitlines():
            d = json.loads(line)
            truth[d["id"]] = d["ground_truth"]
        for line in r.text(base + f"BFCL_v4_{kind}.json").splitlines():
            d = json.loads(line)
            calls = []
            for c in truth.get(d["id"], []):
                for name, args in c.items():
                    calls.append({"name": name, "arguments": {k: v[0] for k, v in args.items() if v and v[0] != ""}})
            q = d["question"][0]
            if calls and len(q) == 1 and len(json.dumps(d["function"])) < 6000:
                yield {"m": [{"role": "user", "content": q[0]["content"]}, {"role": "assistant", "content": "", "tool_calls": calls}],
                       "f": [schema(f) for f in d["function"]]}
    for kind in ("irrelevance",):
        for line in r.text(base + f"BFCL_v4_{kind}.json").splitlines():
            d = json.loads(line)
            q = d["question"][0]
            if len(q) == 1:
                yield {"m": [{"role": "user", "content": q[0]["content"]},
                             {"role": "assistant", "content": "None of the tools I have can do that, so I cannot look it up for you."}],
                       "f": [schema(f) for f in d["function"]]}


PARTS = [books, stories, sgd, taskmaster, topical, gsm8k, svamp, trivia, qmsum, xquad, words, onestop, wiki, instructions, bfcl]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--mirror", required=True, help="folder of the bare clones")
    ap.add_argument("--out", default="", help="folder for the parts")
    ap.add_argument("--only", default="", help="parts to build, by comma; default: all")
    ap.add_argument("--clone", action="store_true", help="first clone what the mirror folder lacks")
    ap.add_argument("--base", default="https://github.com/", help="where to clone from")
    a = ap.parse_args()
    if a.clone:
        clone(a.mirror, a.base)
    if not a.out:
        return
    os.makedirs(a.out, exist_ok=True)
    for fn in PARTS:
        if a.only and fn.__name__ not in a.only.split(","):
            continue
        buf, n = io.StringIO(), 0
        for rec in fn(a.mirror):
            buf.write(json.dumps(rec, ensure_ascii=False, separators=(",", ":")) + "\n")
            n += 1
        raw = buf.getvalue().encode()
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 64 << 20}]
        packed = lzma.compress(raw, format=lzma.FORMAT_XZ, filters=filters)
        path = os.path.join(a.out, fn.__name__ + ".jsonl.xz")
        with open(path, "wb") as f:
            f.write(packed)
        print(f"{fn.__name__:12} records {n:7d} raw {len(raw) / 1e6:8.2f} MB packed {len(packed) / 1e6:7.2f} MB sha256 {hashlib.sha256(packed).hexdigest()}", flush=True)


if __name__ == "__main__":
    main()
