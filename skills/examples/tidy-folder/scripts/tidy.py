#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tidy a folder: no duplicates, no litter, clean text, and an index."""

import argparse
import hashlib
import os
import sys

INDEX = "INDEX.md"
TEXT = (".md", ".txt")
MAX_TEXT = 1 << 20  # bytes; more than that nobody wrote by hand


def files(top):
    """Give the regular files below top, by name, without what is hidden."""
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(n for n in folders if not n.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and (not name.startswith(".") or litter(name)):
                yield path


def litter(name):
    """Say whether an editor left the file."""
    return name.endswith("~") or name.startswith(".") and name.endswith(".swp")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").digest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).digest()


def clean(data):
    """Give text without white space at line ends, and with a newline at its end."""
    lines = [line.rstrip() for line in data.rstrip().splitlines()]
    return "\n".join(lines) + "\n"


def first_line(path):
    if not path.endswith(TEXT):
        return ""
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.readline(200).strip().lstrip("# ")


def main():
    parser = argparse.ArgumentParser(prog="tidy", description=__doc__)
    parser.add_argument("folder", nargs="?", default=".")
    parser.add_argument("--keep-duplicates", action="store_true")
    parser.add_argument("--no-index", action="store_true")
    parser.add_argument("--list", action="store_true", help="say what would be done, and do nothing")
    options = parser.parse_args()
    failed = False

    def act(word, path, do):
        nonlocal failed
        print(f"{word}: {os.path.relpath(path, options.folder)!r}")
        if options.list:
            return
        try:
            do()
        except OSError as e:
            failed = True
            print(f"tidy: {e}", file=sys.stderr)

    seen, kept = {}, []
    for path in files(options.folder):
        if litter(os.path.basename(path)) or os.path.getsize(path) == 0:
            act("delete", path, lambda: os.unlink(path))
            continue
        try:
            same = seen.setdefault(digest(path), path)
        except OSError as e:
            failed = True
            print(f"tidy: {e}", file=sys.stderr)
            continue
        if same != path and not options.keep_duplicates:
            act("delete duplicate", path, lambda: os.unlink(path))
            continue
        kept.append(path)
    for path in kept:
        if not path.endswith(TEXT) or os.path.getsize(path) > MAX_TEXT:
            continue
        try:
            with open(path, encoding="utf-8", newline="") as f:
                before = f.read()
        except (OSError, UnicodeDecodeError):
            continue
        after = clean(before)
        if after == before:
            continue

        def rewrite():
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write(after)

        act("clean", path, rewrite)
    if not options.no_index:
        index = os.path.join(options.folder, INDEX)
        lines = ["# Index", ""]
        for path in kept:
            name = os.path.relpath(path, options.folder)
            if name != INDEX:
                about = first_line(path)
                lines.append(f"- {name} ({os.path.getsize(path)} bytes)" + (f": {about}" if about else ""))

        def write():
            with open(index, "w", encoding="utf-8", errors="surrogateescape") as f:
                f.write("\n".join(lines) + "\n")

        act("write", index, write)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
