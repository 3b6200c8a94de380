#!/usr/bin/env python3
"""Checks that no relative link of the documentation is dead: of the Markdown files in git, or of a built book.

    docs/check_links.py              # every Markdown file of the repository; also that SUMMARY.md has every page of docs/
    docs/check_links.py target/book  # the pages of a built book
"""

import html.parser
import pathlib
import re
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
CODE = re.compile(r"^( *)(```+|~~~+).*?^ *\2[^\n]*$|`+[^`\n]+`+", re.MULTILINE | re.DOTALL)
# Files whose links are filled in elsewhere, or are dead on purpose.
EXCEPT = ("crates/console/assets/", "train/minnow/card.md", "tests/console/hostile/")


class Page(html.parser.HTMLParser):
    """The targets and the anchors of an HTML page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(attributes[name] for name in ("id", "name") if attributes.get(name))
        if tag in ("a", "img", "link", "script"):
            self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


class Markdown:
    """The targets and the anchors of a Markdown file; headings have the anchors that GitHub and mdbook give them."""

    def __init__(self, text):
        prose = CODE.sub(lambda code: code[0] if "\n" not in code[0] else "", text)
        self.anchors = set()
        for heading in re.findall(r"^#{1,6} +(.+?)\s*#*$", prose, re.MULTILINE):
            label = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
            slug = re.sub(r"[^\w\- ]", "", label.lower()).replace(" ", "-")
            count = 0
            while (anchor := f"{slug}-{count}" if count else slug) in self.anchors:
                count += 1
            self.anchors.add(anchor)
        self.links = LINK.findall(re.sub(r"`[^`\n]+`", "", prose))


def dead_links(pages, root):
    """The links of `pages` (path and parsed page) to files or anchors that do not exist."""
    pages = dict(pages)
    for path, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = path
            if url.path:
                target = (path.parent / urllib.parse.unquote(url.path)).resolve()
            if not target.exists() or not target.is_relative_to(root):
                yield f"{path.relative_to(root)}: {link}: there is no such file"
            elif url.fragment and target in pages and urllib.parse.unquote(url.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(root)}: {link}: there is no such heading"


def main():
    found = []
    if len(sys.argv) > 1:
        root = pathlib.Path(sys.argv[1]).resolve()
        # The page for unknown addresses is written for the root of a host.
        pages = [(path, Page(path.read_text())) for path in root.rglob("*.html") if path.name not in ("404.html", "toc.html")]
    else:
        root = ROOT
        listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
        names = [name for name in listed.stdout.split("\0") if name and not name.startswith(EXCEPT) and (ROOT / name).exists()]
        pages = [(ROOT / name, Markdown((ROOT / name).read_text())) for name in names]
        summary = {(ROOT / "docs" / link).resolve() for link in Markdown((ROOT / "docs/SUMMARY.md").read_text()).links}
        own = {path for path, _ in pages if path.is_relative_to(ROOT / "docs")} - {ROOT / "docs/SUMMARY.md"}
        found += [f"docs/SUMMARY.md does not have {path.relative_to(ROOT)}" for path in sorted(own - summary)]
    found += dead_links(pages, root)
    print("\n".join(found) or f"{len(pages)} pages, {sum(len(page.links) for _, page in pages)} links, none dead")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
