"""A preprocessor of mdbook: a link to a file of the repository outside the book becomes its text."""

import json
import pathlib
import re
import sys

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def rewrite(text, folder):
    def replaced(match):
        label, target = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        depth = len(folder.parts)
        outside = target.split("/")[: depth + 1] == [".."] * (depth + 1)
        return label if outside else match[0]

    return LINK.sub(replaced, text)


def visit(items):
    for item in items:
        if isinstance(item, dict) and (chapter := item.get("Chapter")):
            folder = pathlib.PurePosixPath(chapter["path"] or "").parent
            chapter["content"] = rewrite(chapter["content"], folder)
            visit(chapter["sub_items"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["supports"]:
        sys.exit(0)
    _, book = json.load(sys.stdin)
    visit(book.get("items", book.get("sections", [])))
    json.dump(book, sys.stdout)
