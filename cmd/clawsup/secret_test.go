// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

const secretValue = "a-value-that-nobody-sees-0815"

// hidden fails the test if a value is in what was said.
func hidden(t *testing.T, what string, got said) {
	t.Helper()
	if strings.Contains(got.out+got.err, "nobody-sees") {
		t.Errorf("%s tells the value: %+v", what, got)
	}
}

// TestSecretsWithDaemon: the life of secrets through the real daemon.
func TestSecretsWithDaemon(t *testing.T) {
	b := newDaemon(t)
	env := b.write("env", "# keys\nexport TELEGRAM_BOT_TOKEN=123:"+secretValue+"\nPORT=8080\nOPENAI_API_KEY='"+secretValue+"'\nSHORT_TOKEN=x\n")
	for _, c := range []struct {
		stdin, args string
		status      int
		says        string
	}{
		{"", "secret list", 0, "there are no secrets; 'clawsup help secret'"},
		{secretValue + "\n", "secret set openai --provider openai", 0, "secret openai is stored; it goes to api.openai.com:443, as header:Authorization"},
		{secretValue, "secret set openai --provider openai", 1, "there is a secret openai already; 'clawsup secret rotate openai'"},
		{secretValue, "secret set hook --host hooks.example.com --place path --place query:key --shape letters --cookies --ask --public --capture /oauth/token:access_token", 0, "it goes to hooks.example.com:443, as path, query:key"},
		{"short", "secret set a --host a.example.com", 1, "a value has 8 to 8192 bytes, this one has 5"},
		{secretValue + "\nsecond line\n", "secret set a --host a.example.com", 1, "no control characters"},
		{strings.Repeat("x", secrets.MaxValue+1), "secret set a --host a.example.com", 1, "a value has 8 to 8192 bytes"},
		{"", "secret show-metadata hook", 0, "captures     access_token of what /oauth/token answers, as hook.access_token"},
		{"", "secret show-metadata hook", 0, "asks         a person, for each use"},
		{"", "secret show-metadata nobody", 1, "there is no such secret: \"nobody\"\nhint: see 'clawsup secret list'"},
		{secretValue + "-2", "secret rotate openai", 0, "secret openai has its new value"},
		{secretValue, "secret rotate nobody", 1, "there is no such secret"},
		{"", "secret import " + env, 0, "TELEGRAM_BOT_TOKEN  yes    goes to api.telegram.org:443"},
		{"PORT=8080\n", "secret import", 1, "nobody knows where it may go"},
		{"LINE=one\nhunter2\n", "secret import", 1, "nothing was taken: line 2 is not KEY=VALUE"},
		{"", "secret list", 0, "TELEGRAM_BOT_TOKEN  api.telegram.org:443"},
		{"", "secret list", 0, "asks, public"},
		{"", "secret remove --yes hook", 0, "secret hook is removed"},
		{"", "secret remove --yes hook", 1, "there is no such secret"},
	} {
		got := b.run(c.stdin, strings.Fields(c.args)...)
		if got.status != c.status || !strings.Contains(got.out+got.err, c.says) {
			t.Errorf("%s: %+v", c.args, got)
		}
		hidden(t, c.args, got)
	}
	var list []secrets.Secret
	if got := b.run("", "secret", "list", "--json"); json.Unmarshal([]byte(got.out), &list) != nil || len(list) != 3 || list[2].Shape != "openai" || !list[2].Private {
		t.Errorf("%+v", list)
	}
	for _, file := range []string{"state/secrets/openai.json", "state/secrets.key"} {
		if st, err := os.Stat(filepath.Join(b.dir, file)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, st, err)
		}
	}
}

// TestSkillBindingsWithDaemon: a skill has what was bound to the bytes that it has.
func TestSkillBindingsWithDaemon(t *testing.T) {
	b := newDaemon(t)
	dir := filepath.Join(b.dir, "skills", "weather")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const skill = "---\nname: weather\ndescription: Tells the weather.\nmetadata: {\"openclaw\": {\"requires\": {\"env\": [\"WEATHER_KEY\", \"CITY\"]}}}\n---\n"
	b.write("skills/weather/SKILL.md", skill)
	do := func(stdin string, status int, says, args string) {
		t.Helper()
		if got := b.run(stdin, strings.Fields(args)...); got.status != status || !strings.Contains(got.out+got.err, says) {
			t.Errorf("%s: %+v; want %d and %q", args, got, status, says)
		}
	}
	do(secretValue, 0, "stored", "secret set weather --host api.example.com")
	do("", 0, "no skill has secrets", "skill bindings")
	do("", 1, "wants no variable \"WHETHER_KEY\": its manifest names CITY, WEATHER_KEY\nhint: to give it one that it doesn't name, add --force", "skill bind weather WHETHER_KEY=weather")
	do("", 1, "there is no such secret: \"nobody\"", "skill bind weather WEATHER_KEY=nobody")
	do("", 0, "its manifest names these too: CITY", "skill bind weather WEATHER_KEY=weather")
	do("", 0, "CITY=weather WEATHER_KEY=weather", "skill bind weather CITY=weather")
	do("", 0, "weather  CITY=weather WEATHER_KEY=weather", "skill bindings")
	b.write("skills/weather/SKILL.md", skill+"and more\n")
	do("", 0, "DOES NOT COUNT", "skill bindings")
	do("", 0, "has changed since its secrets were bound", "skill bindings")
	do("", 0, "a variable of skill weather is still bound to it", "secret remove --yes weather")
	do("", 0, "skill weather has CITY no more bound", "skill unbind weather CITY")
	do("", 0, "skill weather has none of its variables bound", "skill unbind weather")
	do("", 1, "no secret is bound to skill \"weather\"\nhint: see 'clawsup skill bindings'", "skill unbind weather")
	do("", 2, "is not VAR=SECRET", "skill bind weather WEATHER_KEY")
}

// TestSecretIsNoArgument: a value on the command line is refused, and nothing
// repeats it.
func TestSecretIsNoArgument(t *testing.T) {
	f := newFake(t, answers{})
	for _, args := range [][]string{
		{"set", "openai", secretValue},
		{"set", "--provider", "openai", "openai", "--", secretValue},
		{"set", "openai=" + secretValue},
		{"set", "sk-proj-nobody-sees0123456789abcdef"},
		{"rotate", "openai", secretValue},
		{"rotate", "ghp_0123456789012345678901234567890nobody-sees"},
	} {
		got := f.run("", append([]string{"secret"}, args...)...)
		hidden(t, strings.Join(args[:1], " "), got)
		if got.status != exitUsage || !strings.Contains(got.err, "a value is never an argument") {
			t.Errorf("%v: %+v", args[:1], got)
		}
	}
	got := f.run("", "skill", "bind", "weather", "KEY=sk-proj-nobody-sees0123456789abcdef")
	hidden(t, "skill bind", got)
	if got.status != exitUsage || !strings.Contains(got.err, "a value is never an argument") {
		t.Errorf("%+v", got)
	}
	for args, says := range map[string]string{
		"set":                        "secret set needs a name",
		"set a b c":                  "a value is never an argument",
		"set ../a --provider openai": "a name has 1 to 128",
		"set openai":                 "say where openai may go: --host api.example.com:443, or --provider; for that service: --provider openai",
		"set opnai":                  "--provider openai",
		"set a --provider opnai":     "did you mean openai?",
		"set a --host a.example.com --shape round":          "there is no shape \"round\"; there are plain, letters",
		"set a --host *.com":                                "every name below",
		"set a --host a.example.com --place x":              "invalid value \"x\" for flag -place: there is no kind of place \"x\"; there are header:NAME",
		"set a --host a.example.com --place header:host":    "is no place for a secret",
		"set a --host a.example.com --place basic:user":     "has a colon",
		"set a --host a.example.com --capture /oauth/token": "want PATH:FIELD",
		"list --provider openai":                            "--provider does not belong to secret list",
		"import --place path":                               "--place and --shape are for what",
		"exec-provider x":                                   "secret exec-provider takes nothing more",
	} {
		if got := f.run("", append([]string{"secret"}, strings.Fields(args)...)...); got.status != exitUsage || !strings.Contains(got.err, says) {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestSecretTyped: on a terminal the value is asked for twice, and not shown; and
// whatever happens the terminal shows again what is typed after.
func TestSecretTyped(t *testing.T) {
	var asked api.NewSecret
	f := newFake(t, answers{
		api.SecretList: says[api.Nothing](nil, []secrets.Secret{}),
		api.SecretSet:  says(&asked, secrets.Secret{Name: "openai", Binding: secrets.Binding{Hosts: []string{"api.openai.com:443"}}}),
	})
	for _, c := range []struct {
		name, first, second string
		status              int
		says                string
	}{
		{"twice", secretValue + "\n", secretValue + "\n", 0, "secret openai is stored"},
		{"different", secretValue + "\n", secretValue + "x\n", 1, "two different values; nothing was changed"},
		{"too short", "short\n", "short\n", 1, "a value has 8 to 8192 bytes, this one has 5"},
		{"end", "\x04", "", 1, "the terminal's input ended; nothing was changed"},
		{"interrupted", "\x03", "", 1, "interrupt; nothing was changed"},
		{"interrupted at the second", secretValue + "\n", "\x03", 1, "interrupt; nothing was changed"},
	} {
		asked = api.NewSecret{}
		screen, tty := terminal(t)
		kept, err := unix.Dup(int(tty.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		cmd := f.on(tty, "secret", "set", "openai", "--provider", "openai")
		seen := until(t, screen, "Value of openai: ")
		if _, err := io.WriteString(screen, c.first); err != nil {
			t.Fatal(err)
		}
		if c.second != "" {
			seen += until(t, screen, "Once more: ")
			if _, err := io.WriteString(screen, c.second); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait()
		settings, err := unix.IoctlGetTermios(kept, unix.TCGETS)
		if err != nil || settings.Lflag&unix.ECHO == 0 {
			t.Errorf("%s: the terminal shows nothing any more: %v", c.name, err)
		}
		_ = unix.Close(kept)
		seen += rest(screen)
		if status := cmd.ProcessState.ExitCode(); status != c.status || !strings.Contains(seen, c.says) || strings.Contains(seen, "nobody-sees") {
			t.Errorf("%s: %d %q", c.name, status, seen)
		}
		if (string(asked.Value) == secretValue) != (c.status == 0) {
			t.Errorf("%s: the daemon got %+v", c.name, asked)
		}
	}
	want := []packet.Place{{Kind: packet.Header, Name: "Authorization"}}
	if asked = (api.NewSecret{}); f.run(secretValue, "secret", "set", "openai", "--provider", "openai", "--host", "eu.api.openai.com").status != 0 ||
		!reflect.DeepEqual(asked.Hosts, []string{"eu.api.openai.com:443"}) || !reflect.DeepEqual(asked.Places, want) || asked.Public {
		t.Errorf("%+v", asked)
	}
	for method, want := range map[string]string{api.SecretSet: "admin.sock", api.SecretList: "admin.sock"} {
		if got := f.through(method); got != want {
			t.Errorf("%s came through %s", method, got)
		}
	}
}

// TestSecretRemoveAsks: nothing goes but by the whole word.
func TestSecretRemoveAsks(t *testing.T) {
	removed := 0
	f := newFake(t, answers{
		api.SecretShow:   says[api.SecretRef](nil, secrets.Secret{Name: "a", Binding: secrets.Binding{Hosts: []string{"a.example.com:443"}}}),
		api.SecretRemove: says[api.SecretRef](nil, api.SecretRemoved{Secret: "a"}),
	})
	for typed, status := range map[string]int{"yes\n": 0, "y\n": 1, "\n": 1, "\x04": 1} {
		screen, tty := terminal(t)
		cmd := f.on(tty, "secret", "remove", "a")
		seen := until(t, screen, "to remove it for good: ")
		if _, err := io.WriteString(screen, typed); err != nil {
			t.Fatal(err)
		}
		seen += rest(screen)
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(seen, "a.example.com:443") {
			t.Errorf("%q: %d %s", typed, got, seen)
		}
		if f.through(api.SecretRemove) != "" {
			removed++
			f.turn.Lock()
			delete(f.asked, api.SecretRemove)
			f.turn.Unlock()
		}
	}
	if removed != 1 {
		t.Errorf("it was removed %d times", removed)
	}
	c := f.command("secret", "remove", "a")
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if got := f.finish(c); got.status != 1 || !strings.Contains(got.err, "no terminal to ask on; add --yes") {
		t.Errorf("%+v", got)
	}
}

// TestSecretsGrowOld: what is older than 90 days is told.
func TestSecretsGrowOld(t *testing.T) {
	now := time.Now()
	old := secrets.Secret{Name: "old", Rotated: now.Add(-100*24*time.Hour - time.Minute), Created: now.Add(-200 * 24 * time.Hour), Private: true, Binding: secrets.Binding{Hosts: []string{"a.example.com:443"}}}
	young := secrets.Secret{Name: "young", Rotated: now.Add(-89 * 24 * time.Hour), LastUsed: now.Add(-time.Hour), Private: true, From: "login/access_token"}
	broken := secrets.Secret{Name: "broken", Rotated: now, Private: true, Wrong: "x.json: it is about \x1b another"}
	f := newFake(t, answers{
		api.SecretList: says[api.Nothing](nil, []secrets.Secret{broken, old, young}),
		api.SecretShow: says[api.SecretRef](nil, old),
	})
	got := f.run("", "secret", "list")
	for _, want := range []string{"100 DAYS OLD", "from login/access_token", "never", "1h00m ago", "CAN'T BE USED"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in %s", want, got.out)
		}
	}
	if want := "clawsup: older than 90 days, get a new value and 'clawsup secret rotate' it: old\nclawsup: x.json: it is about \\x1b another\n"; got.status != 0 || got.err != want {
		t.Errorf("%+v", got)
	}
	if got := f.run("", "secret", "show-metadata", "old"); !strings.Contains(got.out, "100 days ago: get a new one, and 'clawsup secret rotate old'") {
		t.Errorf("%+v", got)
	}
}

// TestSecretProvider: OpenClaw's protocol, to the letter.
func TestSecretProvider(t *testing.T) {
	var names api.SecretNames
	f := newFake(t, answers{api.SecretPlaceholders: says(&names, api.Placeholders{
		Placeholders: map[string]string{"openai": "sk-placeholder", "unasked": "x"}, Missing: []string{"other"},
	})})
	socket := filepath.Join(f.dir, "run", "call.sock")
	provide := func(request string) said {
		return f.run(request, "secret", "exec-provider", "--socket", socket)
	}
	const want = `{"protocolVersion":1,"values":{"openai":"sk-placeholder"},"errors":{"other":{"message":"this box has no secret of that name; root adds it to [secrets] of the agent's profile"},"providers/openai/apiKey":{"message":"no name of a secret"}}}` + "\n"
	if got := provide(`{"protocolVersion":1,"provider":"clawsup","ids":["openai","other","providers/openai/apiKey"]}`); got != (said{out: want}) {
		t.Errorf("%+v", got)
	}
	if !reflect.DeepEqual(names.Names, []string{"openai", "other"}) {
		t.Errorf("asked for %v", names.Names)
	}
	for name, request := range map[string]string{
		"nothing": "", "no object": "[]", "rubbish": "nobody-sees", "more after it": `{"protocolVersion":1,"provider":"a","ids":["a"]}{}`,
		"another version": `{"protocolVersion":2,"provider":"a","ids":["a"]}`, "another key": `{"protocolVersion":1,"provider":"a","ids":["a"],"x":1}`,
		"no ids": `{"protocolVersion":1,"provider":"a","ids":[]}`, "an id twice": `{"protocolVersion":1,"provider":"a","ids":["a","a"]}`,
		"no id": `{"protocolVersion":1,"provider":"a","ids":["../a\u001b"]}`, "no provider": `{"protocolVersion":1,"provider":"A","ids":["a"]}`,
		"too many": `{"protocolVersion":1,"provider":"a","ids":[` + strings.Repeat(`"a",`, 64) + `"b"]}`,
		"too long": `{"protocolVersion":1,"provider":"a","ids":["` + strings.Repeat("a", providerText) + `"]}`,
	} {
		got := provide(request)
		if got.status != exitFault || got.out != "" || got.err == "" || strings.Contains(got.err, "\x1b") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := f.run(`{"protocolVersion":1,"provider":"a","ids":["a"]}`, "secret", "exec-provider", "--socket", "/nowhere/call.sock"); got.status != exitUnreachable || got.out != "" {
		t.Errorf("%+v", got)
	}
}

// FuzzProviderRequest: whatever an agent writes, what is taken is of the protocol.
func FuzzProviderRequest(f *testing.F) {
	for _, s := range []string{`{"protocolVersion":1,"provider":"p","ids":["a"]}`, `{"protocolVersion":1,"provider":"p","ids":null}`, `{}`, `[[`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := readProviderRequest(strings.NewReader(text))
		if err != nil {
			return
		}
		if r.ProtocolVersion != 1 || len(r.IDs) == 0 || len(r.IDs) > api.MaxSecretNames || !providerName.MatchString(r.Provider) {
			t.Errorf("%q is %+v", text, r)
		}
	})
}
