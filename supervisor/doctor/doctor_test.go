// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor"
)

func TestStatus(t *testing.T) {
	of := func(levels ...Level) []Finding {
		var found []Finding
		for _, l := range levels {
			found = append(found, Finding{Level: l})
		}
		return found
	}
	for _, c := range []struct {
		found []Finding
		want  int
		says  string
	}{
		{nil, 0, "Everything"},
		{of(Good, Noted), 0, "Everything"},
		{of(Good, Unknown, Noted), 1, "1 could not"},
		{of(Lowered, Unknown), 1, "1 lowered"},
		{of(Broken, Lowered, Broken), 2, "2 broken"},
	} {
		if got, says := Status(c.found), Summary(c.found); got != c.want || !strings.Contains(says, c.says) {
			t.Errorf("%v: %d, %q; want %d, %q", c.found, got, says, c.want, c.says)
		}
	}
}

// TestLayersAreLowers: doctor says of a layer what a run would do.
func TestLayersAreLowers(t *testing.T) {
	host := layer.Host{Kernel: "5.19", Landlock: 2}
	host.Lacks[layer.SwapAccounting] = "no swap accounting"
	plan, _ := layer.Lower(layer.All, host, layer.Of(layer.Seccomp))
	want := map[layer.Layer]Level{
		layer.Identity: Good, layer.Seccomp: Lowered, layer.Landlock: Good,
		layer.LandlockTruncate: Noted, layer.LandlockIoctl: Broken, // its cover, seccomp, is lowered
		layer.CgroupSwap: Broken,
	}
	for _, r := range plan.Reports {
		level, text, hint := oneLayer(r)(context.Background())
		if w, ok := want[r.Layer]; ok && level != w {
			t.Errorf("%s is %s, want %s: %s", r.Layer, level, w, text)
		}
		if text == "" || level >= Lowered && hint == "" {
			t.Errorf("%s, %s: %q, hint %q", r.Layer, level, text, hint)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		text, want   string
		first, count int
	}{
		{"root:x:0:0:root:/root:/bin/sh\n", "", 2, 0},
		{"a:x:999:0\nb:x:1000:0\n", "b", 2, 0},
		{"b:x:1999:0\n", "b", 2, 0},
		{"b:x:2000:0\n", "", 2, 0},
		{"u:900:100\n", "", 1, 2},
		{"u:900:101\n", "u", 1, 2},
		{"u:0:4294967295\n", "u", 1, 2},
		{"u:2000:1\n", "", 1, 2},
		{"+\n#comment\nu:x\nu:1500:many\n\n", "", 1, 2},
	} {
		if got, err := overlap(strings.NewReader(c.text), c.first, c.count, 1000, 1999); err != nil || got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestLeftOver(t *testing.T) {
	dir := t.TempDir()
	if level, text, _ := lookForLeftOver(filepath.Join(dir, "none")); level != Good || text != "nothing" {
		t.Errorf("%s: %s", level, text)
	}
	for _, box := range []string{"box-0000", "box-0001"} {
		if err := os.Mkdir(filepath.Join(dir, box), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, box+".lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.Open(filepath.Join(dir, "box-0001.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if level, text, _ := lookForLeftOver(dir); level != Noted || text != "boxes of killed processes: 1; at work: 1" {
		t.Errorf("%s: %s", level, text)
	}
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/tmp", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state string
		want  Level
	}{{dir + "/missing", Good}, {dir, Good}, {open, Broken}, {link, Broken}, {dir + "/\x1b", Good}} {
		level, text, _ := directories(supervisor.Config{StateDir: c.state, RunDir: dir})(context.Background())
		if level != c.want || strings.ContainsRune(text, '\x1b') {
			t.Errorf("%q: %s, %s", c.state, level, text)
		}
	}
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"good": 0o755, "open": 0o777, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]Level{"good": Good, "open": Broken, "plain": Broken, "missing": Broken} {
		for _, c := range []supervisor.Config{
			{Init: dir + "/" + name, Inspect: dir + "/good"},
			{Init: dir + "/good", Inspect: dir + "/" + name},
		} {
			if level, text, _ := programs(c)(context.Background()); level != want {
				t.Errorf("%s: %s, %s", name, level, text)
			}
		}
	}
}

// TestChecksHere runs what changes nothing on this machine.
func TestChecksHere(t *testing.T) {
	config := supervisor.DefaultsFor("")
	checks := Checks(config)
	last := checks[len(checks)-1]
	found := Run(context.Background(), checks[:len(checks)-1]) // the last makes a box: cmd/clawsup tests it
	if last.Name() != "a box" || len(found) < 30 {
		t.Fatalf("%d checks, the last is %s", len(found)+1, last.Name())
	}
	for i, f := range found {
		if f.Name != checks[i].Name() || f.Text == "" || f.Group == "" {
			t.Errorf("finding %d: %+v", i, f)
		}
	}
	for l := layer.Layer(0); l < layer.Count; l++ {
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Group == LayerGroup && f.Name == l.String() }) {
			t.Errorf("there is no line for %s", l)
		}
	}
	text, err := json.Marshal(found)
	if err != nil || !bytes.Contains(text, []byte(`"level":"ok"`)) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestWrite(t *testing.T) {
	found := []Finding{
		{HostGroup, "kernel", Good, "Linux", ""},
		{HostGroup, "a", Broken, strings.Repeat("word ", 40), "do \x1b[2J this " + strings.Repeat("and that ", 20)},
		{LayerGroup, "b", Lowered, "x", ""},
	}
	var plain, colour bytes.Buffer
	if err := Write(&plain, found, false); err != nil {
		t.Fatal(err)
	}
	if err := Write(&colour, found, true); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsRune(plain.String(), '\x1b') || !strings.Contains(colour.String(), "\x1b[31;1mbroken") {
		t.Errorf("colours: %q", colour.String())
	}
	for line := range strings.SplitSeq(plain.String(), "\n") {
		if len(line) > 2+markWidth+nameWidth+3+textWidth || strings.TrimRight(line, " ") != line {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if !strings.HasPrefix(plain.String(), "host\n  ok      kernel            Linux\n") || strings.Count(plain.String(), "\nlayers\n") != 1 {
		t.Error(plain.String())
	}
}
