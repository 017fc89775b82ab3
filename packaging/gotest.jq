# SPDX-License-Identifier: Apache-2.0
#
# Turns the events of `go test -json` (go doc test2json), one a line, into a
# report for people. What counts is a test without subtests, and a test whose
# subtests all passed but that failed itself. A package that fails without such
# a test, because it can't be built or runs out of time, counts as one failure.

def said: map(select(test("^\\s*(=== |--- )") | not)) | join("");
def whole: map(select(test("^\\s*=== ") | not)) | join("");

# Output belongs to a test, or, with Test absent, to its package.
def key($e): "\($e.Package) \($e.Test // "")";

# Every prefix of a subtest's name that ends before a slash may be its parent.
def ancestors: split("/") | range(1; length) as $n | .[:$n] | join("/");

foreach (
  (inputs | . as $line | (try fromjson catch null) | if type == "object" then . else {Action: "line", Output: ($line + "\n")} end),
  {Action: "end"}
) as $e (
  {out: {}, parent: {}, broken: {}, failed: 0, passed: 0, skipped: 0, skips: [], bad: [], print: ""};

  .print = ""
  | key($e) as $key
  | if $e.Action == "line" or $e.Action == "build-output" then
      .print = $e.Output
    elif $e.Action == "output" then
      .out[$key] += [$e.Output]
    elif $e.Action == "run" then
      reduce ($e.Test | ancestors) as $a (.; .parent["\($e.Package) \($a)"] = true)
    elif $e.Test and $e.Action == "pass" then
      (if .parent[$key] then . else .passed += 1 end) | del(.out[$key], .parent[$key])
    elif $e.Test and $e.Action == "skip" then
      .skipped += 1
      | .skips += ["\($e.Package) \($e.Test): \(.out[$key] // [] | said | gsub("\\s+"; " ") | ltrimstr(" ") | rtrimstr(" "))"]
      | del(.out[$key], .parent[$key])
    elif $e.Test and $e.Action == "fail" then
      .print = "\(.out[$key] // [] | whole)"
      | if .parent[$key] and .broken[$key] then . else
          .failed += 1 | .bad += ["\($e.Package) \($e.Test)"]
        end
      | reduce ($e.Test | ancestors) as $a (.; .broken["\($e.Package) \($a)"] = true)
      | .broken["\($e.Package) "] = true
      | del(.out[$key], .parent[$key])
    elif $e.Action == "pass" then
      .print = "ok  \t\($e.Package)\t\($e.Elapsed * 1000 | round / 1000)s\n" | del(.out[$key])
    elif $e.Action == "skip" then
      del(.out[$key])
    elif $e.Action == "fail" and $e.Package then
      # with what tests said that never came to an end
      .print = ([.out | to_entries[] | select(.key | startswith($e.Package + " ")) | .value | whole] | join(""))
      | if .broken[$key] then . else .failed += 1 | .bad += [$e.Package] end
      | .out |= with_entries(select(.key | startswith($e.Package + " ") | not))
    elif $e.Action == "end" then
      .print = "\n"
        + (.skips | map("skipped: \(.)\n") | join(""))
        + (.bad | map("failed: \(.)\n") | join(""))
        + "\(.passed) passed, \(.failed) failed, \(.skipped) skipped\n"
    else . end;

  .print | select(. != "") | rtrimstr("\n")
)
