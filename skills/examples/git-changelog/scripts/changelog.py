#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a changelog from a git repository, grouped by kind of change.

git runs with no configuration but its own defaults: what a hostile repository
could bring along (hooks, pagers, external diff, fsmonitor) is switched off, and
the repository may belong to another user and be read-only.
"""

import argparse
import json
import os
import re
import subprocess
import sys

GROUPS = [
    ("breaking", "Breaking changes", ()),
    ("features", "Features", ("feat", "feature", "add", "new")),
    ("fixes", "Fixes", ("fix", "fixes", "fixed", "bugfix", "hotfix")),
    ("performance", "Performance", ("perf", "performance", "speed")),
    ("documentation", "Documentation", ("doc", "docs", "documentation", "readme")),
    ("other", "Other changes", ()),
]

# type(scope)!: subject
CONVENTIONAL = re.compile(r"^(?P<type>[A-Za-z]+)(?:\((?P<scope>[^)]{1,60})\))?(?P<bang>!)?:\s+(?P<rest>.+)$")
# path/of/package: subject
PLACE = re.compile(r"^(?P<scope>[\w./,{}*-]{1,60}):\s+(?P<rest>.+)$")
REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{7,64})", re.MULTILINE)
BREAKING = re.compile(r"^BREAKING[ -]CHANGE:", re.MULTILINE)
DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
MAX_COMMITS = 20_000


class Refused(Exception):
    """Something that the user can put right."""


def git(repo, *args):
    env = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        # safe.directory counts from the environment and the command line alone
        # when there is no global configuration.
        "GIT_CONFIG_COUNT": "4",
        "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_KEY_1": "core.hooksPath", "GIT_CONFIG_VALUE_1": "/dev/null",
        "GIT_CONFIG_KEY_2": "core.fsmonitor", "GIT_CONFIG_VALUE_2": "false",
        "GIT_CONFIG_KEY_3": "log.showSignature", "GIT_CONFIG_VALUE_3": "false",
    }
    run = subprocess.run(["git", "--no-pager", "-C", repo, *args], env=env,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode != 0:
        reason = run.stderr.decode("utf-8", "replace").strip().splitlines() or ["git failed"]
        raise Refused(visible(reason[-1]))
    return run.stdout.decode("utf-8", "replace")


def resolve(repo, revision):
    try:
        return git(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}").strip()
    except Refused:
        raise Refused(f"there is no revision {visible(revision)!r} in {repo}") from None


def last_tag(repo, revision):
    """The nearest tag before revision, or None."""
    try:
        return git(repo, "describe", "--tags", "--abbrev=0", "--end-of-options", revision + "^").strip()
    except Refused:
        return None


def commits(repo, start, end, since, until, merges):
    args = ["log", "--no-color", "--no-decorate", "--no-show-signature", "--date=short", f"--max-count={MAX_COMMITS}",
            "--format=%H%x1f%ad%x1f%an%x1f%B%x1e"]
    if not merges:
        args.append("--no-merges")
    if since:
        args.append(f"--since={since} 00:00:00 +0000")
    if until:
        args.append(f"--until={until} 23:59:59 +0000")
    out = git(repo, *args, f"{start}..{end}" if start else end, "--")
    for record in out.split("\x1e"):
        fields = record.strip("\n").split("\x1f", 3)
        if len(fields) == 4:
            yield fields


def classify(message):
    """Return (group, scope, subject) of a commit message."""
    subject = message.strip().split("\n", 1)[0].strip()
    breaking = bool(BREAKING.search(message))
    scope, word = "", ""
    if (m := CONVENTIONAL.match(subject)) and known(m["type"].lower()):
        word, scope, subject = m["type"].lower(), m["scope"] or "", m["rest"]
        breaking |= bool(m["bang"])
    elif m := PLACE.match(subject):
        scope, subject = m["scope"], m["rest"]
    word = word or re.split(r"\W", subject, maxsplit=1)[0].lower()
    if breaking:
        return "breaking", scope, subject
    for name, _, words in GROUPS:
        if word in words:
            return name, scope, subject
    return "other", scope, subject


def known(word):
    extra = ("build", "chore", "ci", "refactor", "revert", "style", "test", "tests")
    return word in extra or any(word in words for _, _, words in GROUPS)


def collect(options):
    repo = options.repo
    if not os.path.isdir(repo):
        raise Refused(f"{visible(repo)} is not a folder")
    git(repo, "rev-parse", "--git-dir")
    end = resolve(repo, options.to)
    start_name = options.start
    if start_name is None and not (options.since or options.until):
        start_name = last_tag(repo, end)
    start = resolve(repo, start_name) if start_name else None
    found = list(commits(repo, start, end, options.since, options.until, options.merges))

    gone = set()
    hashes = {h for h, *_ in found}
    for h, _, _, message in found:  # newest first: a revert that was reverted itself doesn't count
        if h in gone:
            continue
        for prefix in REVERTS.findall(message):
            reverted = {other for other in hashes if other.startswith(prefix)}
            if reverted:
                gone |= reverted | {h}

    groups = {name: [] for name, _, _ in GROUPS}
    for h, date, author, message in found:
        if h in gone:
            continue
        name, scope, subject = classify(message)
        groups[name].append({"hash": h, "date": date, "author": author, "scope": scope, "subject": subject})
    return {
        "from": start_name, "to": options.to, "since": options.since, "until": options.until,
        "commits": sum(map(len, groups.values())), "reverted": len(gone), "truncated": len(found) == MAX_COMMITS,
        "groups": {name: entries for name, entries in groups.items() if entries},
    }


def heading(options, result):
    if options.title:
        return options.title
    if result["since"] or result["until"]:
        return f"Changes {result['since'] or 'up'} to {result['until'] or 'now'}"
    return f"Changes from {result['from']} to {result['to']}" if result["from"] else f"Changes up to {result['to']}"


def visible(text):
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def markdown_text(text):
    """Subjects are other people's text: no terminal codes, no live Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", visible(text))


def markdown(options, result):
    yield f"# {markdown_text(heading(options, result))}"
    yield ""
    if not result["commits"]:
        yield "No changes."
        return
    for name, title, _ in GROUPS:
        entries = result["groups"].get(name)
        if not entries:
            continue
        yield f"## {title}"
        yield ""
        for e in entries:
            place = f"**{markdown_text(e['scope'])}**: " if e["scope"] else ""
            yield f"- {place}{markdown_text(e['subject'])} ({e['hash'][:9]})"
        yield ""
    people = sorted({e["author"] for entries in result["groups"].values() for e in entries})
    yield f"{result['commits']} commits by {', '.join(map(markdown_text, people))}."
    if result["truncated"]:
        yield f"Only the newest {MAX_COMMITS} commits were read."


def arguments():
    p = argparse.ArgumentParser(description="Write a changelog from a git repository.")
    p.add_argument("--repo", default="/workspace" if os.path.isdir("/workspace") else ".", metavar="DIR")
    p.add_argument("--from", dest="start", metavar="REV", help="after this tag or revision (default: the last tag)")
    p.add_argument("--to", default="HEAD", metavar="REV")
    p.add_argument("--since", metavar="DATE")
    p.add_argument("--until", metavar="DATE")
    p.add_argument("--title", metavar="TEXT")
    p.add_argument("--merges", action="store_true", help="list merge commits too")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    options = p.parse_args()
    for name in ("since", "until"):
        value = getattr(options, name)
        if value and not DATE.match(value):
            p.error(f"--{name} takes a date such as 2026-01-31")
    if options.start and (options.since or options.until):
        p.error("--from and dates don't go together")
    return options


def main():
    options = arguments()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        result = collect(options)
    except Refused as e:
        sys.exit(f"changelog.py: {e}")
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
        return
    print("\n".join(markdown(options, result)).rstrip())


if __name__ == "__main__":
    main()
