// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// TestHelp holds the manuals to testdata. They are read by people: 88 columns.
func TestHelp(t *testing.T) {
	texts := map[string]string{"clawsup": overview()}
	for _, c := range commands() {
		texts[c.name] = c.usage
	}
	for name, text := range texts {
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if text != string(want) {
			t.Errorf("the manual of %s is not %s; if it should be: go test ./cmd/clawsup -run TestHelp -update", name, golden)
		}
		if lines := strings.Count(text, "\n"); name == "clawsup" && lines >= 40 {
			t.Errorf("the overview has %d lines; it should fit a screen", lines)
		}
		for n, line := range strings.Split(text, "\n") {
			if len(line) > 88 || strings.TrimRight(line, " ") != line || strings.Contains(line, "\t") {
				t.Errorf("%s line %d is longer than 88 columns, or ends in a space, or has a tab: %q", name, n+1, line)
			}
		}
	}
}

// TestHelpNeedsNothing: no root, no configuration.
func TestHelpNeedsNothing(t *testing.T) {
	b := newBench(t, "")
	b.write("clawsup.toml", "broken = ")
	for _, c := range []struct {
		args string
		want string
	}{
		{"help", overview()},
		{"--help", overview()},
		{"-h", overview()},
		{"help run", runUsage},
		{"run --help", runUsage},
		{"run -h", runUsage},
		{"run-skill --json --help", runSkillUsage},
		{"profile --help", profileUsage},
		{"profile show --help", profileUsage},
		{"doctor --help", doctorUsage},
		{"version --help", versionUsage},
		{"help help", helpUsage},
		{"help --help", helpUsage},
	} {
		if got := b.nobody(strings.Fields(c.args)...); got.status != 0 || got.out != c.want || got.err != "" {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
	stamp := "v0.0.0-test, go1."
	if os.Getenv("CLAWSUP_VM") != "" {
		stamp = "" // built from a copy of the tree without its history
	}
	if got := b.nobody("version"); got.status != 0 || !strings.HasPrefix(got.out, "clawsup "+stamp) {
		t.Errorf("version: %+v", got)
	}
}

func TestMistakes(t *testing.T) {
	b := newBench(t, "")
	for _, c := range []struct{ args, says string }{
		{"", "usage: clawsup"},
		{"runn -- ls", "did you mean run?"},
		{"run_skill x", "did you mean run-skill?"},
		{"frobnicate", "the commands are run-skill, run, "},
		{"a\x1b[2J", `\x1b[2J`},
		{"help docter", "did you mean doctor?"},
		{"--confg x run -- ls", "did you mean --config?"},
		{"run --profle x -- ls", "did you mean --profile?"},
		{"run --zzzzzzz -- ls", "there is no flag --zzzzzzz\n"},
		{"run ls", "put -- before the command"},
		{"run --", "there is no command to run"},
		{"run", "there is no command to run"},
		{"run --timeout 5 -- ls", `write "5s"`},
		{"run --timeout 0s -- ls", "longer than nothing"},
		{"run --timeout -1s -- ls", "not a span of time"},
		{"run --timeout", "needs an argument"},
		{"run --json=maybe -- ls", "invalid boolean value"},
		{"run --workspace= -- ls", "workspace is empty"},
		{"run-skill", "there is no skill to run"},
		{"run-skill -- x", "there is no skill to run"},
		{"run-skill a b", "put -- before what the skill runs"},
		{"profile", "list, show, check or schema"},
		{"profile lst", "did you mean list?"},
		{"profile show", "needs a profile"},
		{"profile show a b", "takes nothing more: b"},
		{"profile list --seccomp", "--seccomp does not belong to profile list"},
		{"profile show x --seccomp --json", "--seccomp does not go with --json"},
		{"profile schema --json", "--json does not belong to profile schema"},
		{"audit", "say what about receipts: show, search, follow, verify, export, public or anchor"},
		{"audit shw", "did you mean show?"},
		{"audit show --last 0", "from 1 on"},
		{"audit show --last x", "invalid value"},
		{"audit show x", "takes nothing more: x"},
		{"audit search --kind decisions", "the kinds are decision, outcome"},
		{"audit search --since yesterday", "is no time"},
		{"audit export --json", "--json does not belong to audit export"},
		{"audit verify --dir x", "say which key signed"},
		{"explain", "explain needs an effect or a call"},
		{"explain exek", "did you mean exec?"},
		{"explain frobnicate", "the effects are exec, fs.create"},
		{"explain exec x", "is no target of exec"},
		{"explain exec x y", "takes nothing more: y"},
		{"explain --profile x c-1", "a call has its own profile"},
		{"ps x", "takes no arguments"},
		{"top x", "takes no arguments"},
		{"stop", "say which calls to stop, or --all"},
		{"stop --all c-1", "say which calls to stop, or --all"},
		{"logs", "logs needs a call"},
		{"lockdown now", "takes no arguments"},
		{"agent", "say what about agents: status, start,"},
		{"agent strat", "did you mean start?"},
		{"agent stop a b", "takes nothing more: b"},
		{"agent stop --snapshot x", "--snapshot does not belong to agent stop"},
		{"agent clear", "say which label"},
		{"agent logs --bytes much", "is not a size"},
		{"session show", "needs a session"},
		{"session clear --label secret x", "the labels are untrusted and private"},
		{"grant revoke", "needs a grant"},
		{"approval", "say what about a ticket: show"},
		{"approvals --watch --all", "does not go with --watch"},
		{"approve", "needs a ticket"},
		{"approve A B", "takes nothing more: B"},
		{"approve A -- ls", "belongs to --change"},
		{"approve --workspace w A", "belongs to --change"},
		{"approve --change A", "say what to change"},
		{"approve --change --for 1h A -- ls", "makes a new ticket"},
		{"approve --uses 3 A", "say for how long"},
		{"approve --for never A", "a time as 30m"},
		{"approve --yes A", "--yes and --revision N go together"},
		{"approve --revision 2 A", "--yes and --revision N go together"},
		{"approve --refuse p --for 1h A", "a plain yes"},
		{"approve --refuse p --change A -- ls", "a plain yes"},
		{"deny", "needs a ticket"},
		{"changes", "list, show, diff, commit or discard"},
		{"changes comit x", "did you mean commit?"},
		{"changes show", "needs a change set"},
		{"changes show a b", "takes nothing more: b"},
		{"changes list --reason x", "--reason does not belong to changes list"},
		{"changes discard --refuse p x", "--refuse does not belong to changes discard"},
		{"changes commit --refuse p x q", "not both"},
		{"undo", "needs a change set"},
		{"trash", "list, restore or empty"},
		{"trash empty", "say which trash"},
		{"trash empty --all x", "say which trash"},
		{"trash empty --older soon", "a time as 12h"},
		{"run --keep -- ls", "say which with --session"},
		{"run --keep --dry-run --session s -- ls", "don't go together"},
		{"run --approver bob -- ls", "the only choice is none"},
		{"run --deadline soon -- ls", "not a span of time"},
		{"run --key k -- ls", "--key is for clawsupd"},
		{"explain --labels pubic exec", "the labels are untrusted and private"},
		{"doctor now", "takes no arguments"},
		{"version now", "takes no arguments"},
		{"run --log-level loud -- ls", "the levels are"},
	} {
		got := b.run("", strings.Split(c.args, " ")...)
		if c.args == "" {
			got = b.run("")
		}
		if got.status != exitUsage || !strings.Contains(got.err, c.says) || got.out != "" {
			t.Errorf("%q: %+v; want %q", c.args, got, c.says)
		}
	}
}

func TestFlagsStandAnywhereBeforeTheCommand(t *testing.T) {
	p := &program{}
	var f callFlags
	words, rest, err := parse(f.set(p.flags("x")), strings.Fields("--json skill --timeout 5s --workspace=/w -- a --json -- b"))
	if err != nil || !f.json || f.timeout != "5s" || f.request.Workspace != "/w" {
		t.Errorf("%+v, %v", f, err)
	}
	if strings.Join(words, " ") != "skill" || strings.Join(rest, " ") != "a --json -- b" {
		t.Errorf("%q, %q", words, rest)
	}
}
