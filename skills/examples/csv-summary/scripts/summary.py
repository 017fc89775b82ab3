#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Summarise a CSV file column by column.

The file is read once, row by row. Memory is bounded: a column keeps at most
LIMIT different values; beyond that its median and most frequent values are not
given, since they could only be guessed.
"""

import argparse
import collections
import csv
import datetime
import io
import itertools
import json
import math
import sys

LIMIT = 100_000
MISSING = {"", "na", "n/a", "null", "none", "nan"}
BOOLEANS = {"true", "false", "yes", "no"}
DELIMITERS = ",;\t|"
MAX_FIELD = 1 << 20  # bytes of one field; a lost quote must not eat the file
MAX_LINE = 8 << 20  # characters of one line
MAX_COLUMNS = 4096


class Column:
    """What is known about one column so far."""

    def __init__(self, name):
        self.name = name
        self.count = 0
        self.missing = 0
        self.kinds = {"integer", "number", "date", "boolean"}
        self.low = self.high = None  # numbers
        self.first = self.last = None  # dates, as ISO text
        self.shortest = self.longest = None  # lengths of text
        self.total = 0.0
        self.lost = 0.0  # Kahan's compensation: means of millions of rows stay exact
        self.values = collections.Counter()
        self.full = False

    def add(self, text):
        text = text.strip()
        if text.lower() in MISSING:
            self.missing += 1
            return
        self.count += 1
        size = len(text)
        self.shortest = size if self.shortest is None else min(self.shortest, size)
        self.longest = size if self.longest is None else max(self.longest, size)
        if not self.full:
            self.values[text] += 1
            if len(self.values) > LIMIT:
                self.full = True
                self.values.clear()
        if "number" in self.kinds:
            self.add_number(text)
        if "date" in self.kinds:
            self.add_date(text)
        if text.lower() not in BOOLEANS:
            self.kinds.discard("boolean")

    def add_number(self, text):
        number = to_number(text)
        if number is None:
            self.kinds -= {"integer", "number"}
            return
        if isinstance(number, float):
            self.kinds.discard("integer")
        self.low = number if self.low is None else min(self.low, number)
        self.high = number if self.high is None else max(self.high, number)
        step = float(number) - self.lost
        total = self.total + step
        self.lost = (total - self.total) - step
        self.total = total

    def add_date(self, text):
        date = to_date(text)
        if date is None:
            self.kinds.discard("date")
            return
        self.first = date if self.first is None else min(self.first, date)
        self.last = date if self.last is None else max(self.last, date)

    def type(self):
        if not self.count:
            return "empty"
        for kind in ("integer", "number", "date", "boolean"):
            if kind in self.kinds:
                return kind
        return "text"

    def median(self):
        if not self.values:
            return None
        numbers = sorted((to_number(v), n) for v, n in self.values.items())
        total = sum(n for _, n in numbers)
        middle, seen, found = ((total - 1) // 2, total // 2), 0, []
        for value, n in numbers:
            found += [value for m in middle if seen <= m < seen + n]
            seen += n
        return found[0] if found[0] == found[1] else (found[0] + found[1]) / 2

    def summary(self, top):
        kind = self.type()
        out = {
            "name": self.name,
            "type": kind,
            "count": self.count,
            "missing": self.missing,
            "distinct": None if self.full else len(self.values),
        }
        if kind in ("integer", "number"):
            out.update(min=self.low, max=self.high, mean=self.total / self.count, median=self.median())
        elif kind == "date":
            out.update(min=self.first, max=self.last)
        elif kind != "empty":
            out.update(min_length=self.shortest, max_length=self.longest)
        # Equal counts are ordered by value, so that two runs print the same.
        frequent = sorted(self.values.items(), key=lambda item: (-item[1], item[0]))
        out["top"] = [{"value": v, "count": n} for v, n in frequent[:top]]
        return out


def to_number(text):
    if "_" in text or len(text) > 400:  # Python reads 1_000; a table means text by it
        return None
    try:
        # 007 and the like are identifiers, not numbers.
        digits = text.lstrip("+-")
        if digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0") and len(digits) <= 300:
            return int(text)
        if digits[:1] == "0" and digits[1:2].isdigit():
            return None
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def to_date(text):
    if len(text) < 10 or text[4] != "-":
        return None
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).isoformat() if len(text) > 10 \
            else datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def guess_delimiter(line):
    """The candidate that is most often in the first line, outside quotes."""
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=lambda c: (outside.count(c), -DELIMITERS.index(c)))


def rows(stream, delimiter):
    """Yield (line number, fields). The csv module finds quoting mistakes."""
    reader = csv.reader(stream, delimiter=delimiter, strict=False)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        yield reader.line_num, row


def summarise(stream, options):
    stream = lines(stream)
    first = next(stream, "")
    if not first.strip():
        raise ValueError("the file is empty" if not first else "the first line is empty")
    delimiter = options.delimiter or guess_delimiter(first)
    columns, bad, count = [], [], 0
    for line, row in rows(itertools.chain([first], stream), delimiter):
        if not columns:
            if len(row) > MAX_COLUMNS:
                raise ValueError(f"there are {len(row)} columns, at most {MAX_COLUMNS} are read")
            names = [f"column {i + 1}" for i in range(len(row))] if options.no_header else unique(row)
            columns = [Column(name) for name in names]
            if not options.no_header:
                continue
        if not row:
            continue  # a blank line
        count += 1
        if len(row) != len(columns):
            bad.append(line)
        for i, column in enumerate(columns):
            column.add(row[i] if i < len(row) else "")
        if len(bad) > LIMIT:
            raise ValueError(f"more than {LIMIT} rows don't have {len(columns)} fields; is {delimiter!r} the delimiter?")
    if options.columns:
        wanted = [name.strip() for name in options.columns.split(",")]
        known = {c.name: c for c in columns}
        for name in wanted:
            if name not in known:
                raise ValueError(f"there is no column {name!r}; there are {', '.join(map(repr, known))}")
        columns = [known[name] for name in wanted]
    return {
        "delimiter": delimiter,
        "rows": count,
        "bad_rows": len(bad),
        "bad_lines": bad[:10],
        "columns": [c.summary(options.top) for c in columns],
    }


def unique(names):
    """Give unnamed and repeated columns names of their own."""
    seen, out = collections.Counter(), []
    for i, name in enumerate(names):
        name = name.strip() or f"column {i + 1}"
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out


def lines(stream):
    """Yield the lines of a file, of which none is too long to be held."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE and line[-1] not in "\r\n":
            raise ValueError(f"a line is longer than {MAX_LINE} characters; is it a CSV file?")
        if "\0" in line:
            raise ValueError("there is a NUL byte in it; is it a CSV file, or UTF-16 (try --encoding utf-16)?")
        yield line


def show(value):
    """Make text safe to print in one table cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 30 else text[:29] + "…"


def table(result):
    head = ["column", "type", "count", "missing", "distinct", "min", "max", "mean", "median", "top"]
    lines = [head]
    for c in result["columns"]:
        low, high = c.get("min"), c.get("max")
        if "min_length" in c:
            low, high = f"{c['min_length']} chars", f"{c['max_length']} chars"
        lines.append([
            show(c["name"]), c["type"], str(c["count"]), str(c["missing"]), f"> {LIMIT}" if c["distinct"] is None else str(c["distinct"]),
            show(low), show(high), show(c.get("mean")), show(c.get("median")),
            ", ".join(f"{show(t['value'])} ({t['count']})" for t in c["top"]),
        ])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
    yield ""
    yield f"{result['rows']} rows, {len(result['columns'])} columns, delimiter {result['delimiter']!r}"
    if result["bad_rows"]:
        where = ", ".join(map(str, result["bad_lines"])) + (", ..." if result["bad_rows"] > 10 else "")
        yield f"{result['bad_rows']} rows have the wrong number of fields, on lines {where}"


def arguments():
    p = argparse.ArgumentParser(description="Summarise a CSV file column by column.")
    p.add_argument("file", help="the file, or - for standard input")
    p.add_argument("--delimiter", help="one character; by default the first line decides")
    p.add_argument("--encoding", default="utf-8")
    p.add_argument("--no-header", action="store_true", help="the first line is data")
    p.add_argument("--top", type=int, default=3, metavar="N", help="frequent values to show (default 3)")
    p.add_argument("--columns", metavar="A,B", help="only these columns")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    options = p.parse_args()
    if options.delimiter in ("\\t", "tab"):
        options.delimiter = "\t"
    if options.delimiter is not None and len(options.delimiter) != 1:
        p.error("--delimiter takes one character")
    if not 0 <= options.top <= 100:
        p.error("--top takes 0 to 100")
    return options


def main():
    options = arguments()
    csv.field_size_limit(MAX_FIELD)
    sys.stdout.reconfigure(encoding="utf-8")
    encoding = "utf-8-sig" if options.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else options.encoding
    try:
        raw = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")
        with io.TextIOWrapper(raw, encoding=encoding, newline="") as stream:
            result = summarise(stream, options)
    except (OSError, ValueError, LookupError, csv.Error) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        if isinstance(e, UnicodeDecodeError):
            reason = f"it is not {options.encoding} at byte {e.start}; try --encoding latin-1"
        sys.exit(f"summary.py: {show_path(options.file)}: {reason}")
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
        return
    for line in table(result):
        print(line)


def show_path(path):
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)


if __name__ == "__main__":
    main()
