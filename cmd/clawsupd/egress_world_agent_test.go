// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

// Users of the agents here: numbers that nobody has.
const (
	clawID  = 64241
	quietID = 64242
)

// doing is an agent that runs the scripts that it is told to, side by side.
const doing = `export RUN=$RANDOM$RANDOM; cd "$HOME"; exec 3<>orders 4<>answers
while read -r n <&3; do (sh ./do.$n >out.$n 2>&1 </dev/null 3<&- 4>&-; echo "$n $?" >&4) & done`

// clawConfig is an agent of the site, with more lines.
func (o *outside) clawConfig(name string, id int, more string) string {
	return fmt.Sprintf(`[[agent]]
name = %q
command = ["/bin/bash", "-c", %q]
user = "%d"
group = "%[3]d"
state_dir = %[4]q
read = [%[5]q]
profile = "gateway"
network = "egress"
call_profiles = ["plain"]
restart = "never"
autostart = false
snapshots = 0
stop_timeout = "1s"
%[6]s
`, name, doing, id, o.home(name), o.tools, more)
}

func (o *outside) home(name string) string { return filepath.Join(o.dir, "homes", name) }

// calling asks for a call of a shell's, and writes what that writes.
const calling = `import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/clawsup/call.sock")
r, w = os.pipe()
nothing, end = os.pipe()
frame = {"jsonrpc": "2.0", "id": 1, "method": "call.submit", "files": 3, "params": {"args": ["sh", "-c", sys.argv[1]], "profile": "plain", "wait": True}}
socket.send_fds(s, [json.dumps(frame).encode() + b"\n"], [nothing, w, w])
os.close(end), os.close(w)
print(open(r, "rb").read().decode(), s.recv(65536))
`

// gatewayRules are those of the agents' profile.
var gatewayRules = `[network]
mode = "egress"
default = "deny"
` + rule("api.test", "allow", `paths = ["/echo/**", "/back", "/wait", "/upload"]`) +
	rule("bot.test", "allow", `fields = { chat_id = ["42"] }`) +
	rule("git.test", "ask") +
	"[secrets]\nAPI_KEY = \"api\"\nBOT_TOKEN = \"bot\"\n"

func (o *outside) writeGateway(rules string) {
	o.write("profiles/gateway.toml", "extends = \"agent\"\n"+rules)
}

// newHouse starts a daemon with an agent "claw", and more configuration, in which
// CLAW is its section's place. The secret "client" is no agent's.
func newHouse(t *testing.T, more func(o *outside) string) *outside {
	t.Helper()
	o := newOutside(t, map[string]string{"plain": ""})
	if err := o.daemon.end(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	o.writeGateway(gatewayRules)
	if err := os.Mkdir(filepath.Join(o.dir, "homes"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.configure(o.world.Config() + more(o))
	o.begin()
	o.keepSecrets(t)
	return o
}

func (o *outside) keepSecrets(t *testing.T) {
	t.Helper()
	for _, s := range []api.NewSecret{
		{Name: "api", Value: []byte(apiValue), Hosts: []string{"api.test:443"}, Public: true, Places: []packet.Place{{Kind: packet.Header, Name: "Authorization"}}},
		{Name: "bot", Value: []byte(world.BotToken), Shape: "telegram", Hosts: []string{"bot.test:443"}, Public: true, Places: []packet.Place{{Kind: packet.Path}}},
		{Name: "client", Value: []byte(clientValue), Hosts: []string{"other.test:443"}, Public: true, Places: []packet.Place{{Kind: packet.Form, Name: "client_secret"}},
			Captures: []packet.Capture{{Path: "/token", Field: "access_token"}}},
	} {
		if _, err := try[secrets.Secret](o.connect("admin"), api.SecretSet, s); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
	}
	t.Cleanup(func() { o.sealed(t) })
}

// claw is an agent that does what it is told.
type claw struct {
	o       *outside
	name    string
	home    string
	orders  *os.File
	answers *os.File
	daemon  *daemon     // that admin is of
	admin   *api.Client // of daemon
	lines   []byte      // of answers, that were read
	n       int
}

// bring starts an agent.
func (o *outside) bring(t *testing.T, name string, id int) *claw {
	t.Helper()
	c := &claw{o: o, name: name, home: o.home(name)}
	if err := os.Mkdir(c.home, 0o700); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	for file, to := range map[string]**os.File{"orders": &c.orders, "answers": &c.answers} {
		path := filepath.Join(c.home, file)
		if err := unix.Mkfifo(path, 0o600); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		if err := os.Chown(path, id, id); err != nil {
			t.Fatal(err)
		}
		var err error
		if *to, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err != nil { // neither end ever goes away
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*to).Close() })
	}
	if err := os.Chown(c.home, id, id); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	return c
}

// ask gives admin.sock of the daemon that there is now.
func (c *claw) ask() *api.Client {
	if c.daemon != c.o.daemon {
		c.daemon, c.admin = c.o.daemon, c.o.connect("admin")
	}
	return c.admin
}

func (c *claw) act(t *testing.T, method string) api.Agent {
	t.Helper()
	v, err := try[api.Agent](c.ask(), method, api.AgentRef{Agent: c.name})
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return v
}

func (c *claw) start(t *testing.T) {
	t.Helper()
	c.act(t, api.AgentStart)
}

// tell has it run a script.
func (c *claw) tell(t *testing.T, script string) (order int) {
	t.Helper()
	c.n++
	if err := os.WriteFile(fmt.Sprintf("%s/do.%d", c.home, c.n), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(c.orders, c.n); err != nil {
		t.Fatal(err)
	}
	return c.n
}

// done is what a script came to.
type done struct {
	out    string
	status int
}

// get waits for the end of a script.
func (c *claw) get(t *testing.T, order int) done {
	t.Helper()
	_ = c.answers.SetReadDeadline(time.Now().Add(patience))
	answer := regexp.MustCompile(fmt.Sprintf(`(?m)^%d (\d+)\n`, order))
	b := make([]byte, 512)
	for {
		if m := answer.FindSubmatch(c.lines); m != nil {
			var d done
			fmt.Sscan(string(m[1]), &d.status)
			d.out = c.said(t, order)
			return d
		}
		n, err := c.answers.Read(b)
		if err != nil {
			logs, _ := try[api.Log](c.ask(), api.AgentLogs, api.Logs{Agent: c.name})
			t.Fatalf("agent %s did not say that it did %d, which wrote %q: %v; it is %+v and wrote %s", c.name, order, c.said(t, order), err, c.status(t), logs.Data)
		}
		c.lines = append(c.lines, b[:n]...)
	}
}

// said is what a script wrote so far.
func (c *claw) said(t *testing.T, order int) string {
	t.Helper()
	out, err := os.ReadFile(fmt.Sprintf("%s/out.%d", c.home, order))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(out)
}

// do runs a script to its end.
func (c *claw) do(t *testing.T, script string) done {
	t.Helper()
	return c.get(t, c.tell(t, script))
}

func (c *claw) status(t *testing.T) api.Agent {
	t.Helper()
	list, err := try[[]api.Agent](c.ask(), api.AgentStatus, api.AgentRef{Agent: c.name})
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

// variable gives one of its environment.
func (c *claw) variable(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(c.do(t, `printf %s "$`+name+`"`).out)
}

// outfit are the files that an agent's way out has on the host.
func (c *claw) outfit(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"run/ways/" + c.name + ".json*", "run/trust/agent-" + c.name} {
		files, err := filepath.Glob(filepath.Join(c.o.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	return all
}

// came gives the requests that a server saw on a path.
func (o *outside) came(server world.Name, path string) []world.Seen {
	return o.world.Log.All(func(s world.Seen) bool {
		at, _, _ := strings.Cut(s.Target, "?")
		return s.Server == server && at == path
	})
}

const withKey = `curl -sS -i -H "Authorization: Bearer $API_KEY" `

// reaches says whether the agent gets to its provider, with its key.
func (c *claw) reaches(t *testing.T, path string) {
	t.Helper()
	d := c.do(t, withKey+"https://api.test"+path)
	seen := c.o.came(world.API, path)
	if d.status != 0 || !strings.Contains(d.out, " 200") || len(seen) != 1 || seen[0].Header.Get("Authorization") != "Bearer "+apiValue {
		t.Errorf("%s: %+v, the server saw %v", path, d, seen)
	}
	if strings.Contains(d.out, apiValue) || strings.Contains(d.out, base64.StdEncoding.EncodeToString([]byte(apiValue))) {
		t.Errorf("%s: the answer has the key: %s", path, d.out)
	}
}

// TestAgentReaches: an agent reaches its provider and its chat, with keys that it
// never has, and nothing else.
func TestAgentReaches(t *testing.T) {
	o := newHouse(t, func(o *outside) string {
		return o.clawConfig("claw", clawID, "") + o.clawConfig("quiet", quietID, `approver = "none"`)
	})
	c := o.bring(t, "claw", clawID)

	t.Run("provider", func(t *testing.T) {
		c.reaches(t, "/echo/v1")
		for _, as := range []string{"raw", "base64", "percent", "json"} {
			d := c.do(t, withKey+"https://api.test/back?as="+as)
			if d.status != 0 || strings.Contains(d.out, apiValue) || !strings.Contains(d.out, "*****") {
				t.Errorf("%s: %+v", as, d)
			}
		}
		d := c.do(t, `env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; ls -R /run /etc/ssl 2>/dev/null; cat /etc/ssl/certs/*`)
		if !strings.Contains(d.out, "API_KEY=clawsup-secret:api:") {
			t.Errorf("%+v", d)
		}
		for _, v := range []string{apiValue, world.BotToken, clientValue, "PRIVATE KEY"} {
			if strings.Contains(d.out, v) {
				t.Errorf("the box has %q", v)
			}
		}
	})

	t.Run("chat", func(t *testing.T) {
		const send = `curl -sS -i https://bot.test/bot$BOT_TOKEN/sendMessage -d text=hello -d chat_id=`
		if d := c.do(t, send+"42"); d.status != 0 || !strings.Contains(d.out, `"chat":"42"`) || strings.Contains(d.out, world.BotToken) {
			t.Errorf("%+v", d)
		}
		mark := o.world.Sink.Mark(t)
		before := len(o.world.Log.All(nil))
		for name, script := range map[string]string{
			"another chat":        send + "43",
			"two chats":           send + "42 -d chat_id=43",
			"a chat in the query": `curl -sS -i "https://bot.test/bot$BOT_TOKEN/sendMessage?chat_id=43" -d chat_id=42`,
			"no chat":             `curl -sS -i https://bot.test/bot$BOT_TOKEN/getMe`,
			"its own bot":         `curl -sS -i https://bot.test/bot99999:own/sendMessage -d chat_id=42`,
			"its own account":     `curl -sS -i -H "Authorization: Bearer own" https://api.test/echo/own`,
			"another's key":       `curl -sS -i -H "Authorization: Bearer $BOT_TOKEN" https://api.test/echo/other`,
			"key in the query":    `curl -sS -i "https://api.test/echo/query?k=$API_KEY"`,
			"key in a body":       `curl -sS -i https://api.test/echo/body -d "$API_KEY"`,
			"another path":        withKey + "https://api.test/socket",
		} {
			if d := c.do(t, script); !strings.Contains(d.out, " 403") || !strings.Contains(d.out, "clawsup: denied") {
				t.Errorf("%s: %+v", name, d)
			}
		}
		o.world.Sink.Silent(t, mark, question, at(world.API, world.Bot)) // connections that were kept
		if seen := o.world.Log.All(nil)[before:]; len(seen) > 0 {
			t.Errorf("the servers saw %v", seen)
		}
	})

	t.Run("nowhere else", func(t *testing.T) {
		mark := o.world.Sink.Mark(t)
		if d := c.do(t, `curl -sS https://other.test/ ; echo $?; getent hosts other.test || echo none`); !strings.Contains(d.out, "\n6\n") || !strings.HasSuffix(d.out, "none\n") {
			t.Errorf("%+v", d)
		}
		for _, script := range []string{
			`curl -sS -m 5 -k -H "Host: api.test" https://` + world.Other.Address().String() + `/`,
			`curl -sS -m 5 http://127.0.0.1:22/`, `curl -sS -m 5 http://169.254.169.254/`, `curl -sS -m 5 "http://[2600:80::20]/"`,
			`bash -c 'echo x >/dev/udp/20.53.0.53/53'; bash -c 'exec 3<>/dev/tcp/` + world.Raw.Address().String() + `/7000; read -t 5 <&3'`,
		} {
			if d := c.do(t, script); d.status == 0 {
				t.Errorf("%s: %+v", script, d)
			}
		}
		o.world.Sink.Silent(t, mark)
	})

	t.Run("asks", func(t *testing.T) {
		held := c.tell(t, `curl -sS -i https://git.test/first`)
		k := o.ticket(t, "agent claw")
		if k.Agent != "claw" || k.Requester != fmt.Sprintf("agent claw (uid %d)", clawID) || k.Session != "" || k.Profile != "gateway" ||
			!slices.ContainsFunc(k.Facts, func(f approval.Fact) bool { return f.Name == "by" && f.Value == "agent claw itself" }) || !k.Labels.Untrusted {
			t.Errorf("people are asked %+v", k)
		}
		if seen := o.came(world.Git, "/first"); len(seen) > 0 {
			t.Errorf("before a yes the server saw %v", seen)
		}
		o.approve(t, k)
		if d := c.get(t, held); d.status != 0 || len(o.came(world.Git, "/first")) != 1 {
			t.Errorf("%+v", d)
		}
		held = c.tell(t, `curl -sS -i https://git.test/first`) // once was once
		o.approve(t, o.ticket(t, "agent claw"), "--for", "15m", "--wide")
		c.get(t, held)
		if d := c.do(t, `curl -sS -i https://git.test/first`); d.status != 0 || len(o.came(world.Git, "/first")) != 3 {
			t.Errorf("%+v, the server saw %v", d, o.came(world.Git, "/first"))
		}
		held = c.tell(t, `curl -sS -i https://git.test/second`)
		k = o.ticket(t, "agent claw")
		if out, status := o.command("deny", "--reason", "not that", k.ID); status != 0 {
			t.Errorf("%d %s", status, out)
		}
		if d := c.get(t, held); !strings.Contains(d.out, " 403") || !strings.Contains(d.out, "not that (ticket "+k.ID+")") || len(o.came(world.Git, "/second")) > 0 {
			t.Errorf("%+v", d)
		}
	})

	t.Run("nobody is asked", func(t *testing.T) {
		quiet := o.bring(t, "quiet", quietID)
		mark := o.world.Sink.Mark(t)
		if d := quiet.do(t, `curl -sS -i https://git.test/first`); !strings.Contains(d.out, " 403") {
			t.Errorf("%+v", d)
		}
		o.world.Sink.Silent(t, mark, question)
		if list, err := try[[]approval.Ticket](o.people, api.TicketList, api.TicketFilter{}); err != nil || len(list) > 0 {
			t.Errorf("people are asked %+v, %v", list, err)
		}
		// Its placeholders are its own.
		if a, b := c.variable(t, "API_KEY"), quiet.variable(t, "API_KEY"); a == b {
			t.Error("two agents have the same placeholder")
		} else if d := quiet.do(t, "API_KEY="+a+"; "+withKey+"https://api.test/echo/theirs"); !strings.Contains(d.out, " 403") || len(o.came(world.API, "/echo/theirs")) > 0 {
			t.Errorf("another's placeholder: %+v", d)
		}
	})

	t.Run("secret provider", func(t *testing.T) {
		program, err := os.ReadFile(programs + "/clawsup")
		if err != nil {
			t.Fatal(err)
		}
		clawsup := o.tool(t, "clawsup", program)
		provide := func(ids string) string {
			return fmt.Sprintf(`echo '{"protocolVersion":1,"provider":"clawsup","ids":[%s]}' | %s secret exec-provider`, ids, clawsup)
		}
		d := c.do(t, provide(`"api","client","nosuch"`))
		missing := regexp.MustCompile(`"(client|nosuch)":\{"message":"([^"]*)"\}`).FindAllStringSubmatch(d.out, -1)
		if d.status != 0 || !strings.Contains(d.out, fmt.Sprintf(`"api":%q`, c.variable(t, "API_KEY"))) || len(missing) != 2 || missing[0][2] != missing[1][2] {
			t.Errorf("%+v", d)
		}
		// A call of the agent's has none, whatever it asks.
		calling := o.tool(t, "calling.py", []byte(calling))
		d = c.do(t, "python3 "+calling+" 'env; ls -A /run/clawsup; "+clawsup+" secret exec-provider </dev/null'")
		if d.status != 0 || strings.Contains(d.out, "clawsup-secret") || !strings.Contains(d.out, "PATH=") || strings.Contains(d.out, "call.sock") {
			t.Errorf("%+v", d)
		}
	})

	if err := o.daemon.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	for _, r := range o.verify() {
		if strings.Contains(fmt.Sprint(r), apiValue) {
			t.Errorf("a receipt has the key: %+v", r)
		}
	}
	if left := c.outfit(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestAgentRuns: with each start there are new placeholders, beside the way out
// published ports lead in, and after the end nothing is left.
func TestAgentRuns(t *testing.T) {
	const port = "127.0.0.1:18789"
	o := newHouse(t, func(o *outside) string {
		return o.clawConfig("claw", clawID, fmt.Sprintf("publish = [%q]\nloopback = [\"127.0.0.1:18790\"]\nready.tcp = %q\nready.every = \"50ms\"\n", port, port))
	})
	host, err := o.world.Host.Listen("tcp", "127.0.0.1:18790")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(host, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from the host") }))
	defer host.Close()
	c := o.bring(t, "claw", clawID)
	serve := func() {
		t.Helper()
		c.tell(t, "cd /etc/ssl/certs; exec python3 -m http.server --bind 127.0.0.1 18789")
		c.await(t, "ready")
		get, err := o.world.Host.Output(exec.Command("curl", "-sS", "http://"+port+"/clawsup-egress.pem"))
		if err != nil || !strings.Contains(string(get), "BEGIN CERTIFICATE") {
			t.Errorf("its port says %q, %v", get, err)
		}
		if d := c.do(t, "curl -sS http://127.0.0.1:18790/"); d.out != "from the host" {
			t.Errorf("%+v", d)
		}
	}
	serve()
	c.reaches(t, "/echo/before")
	if have := c.outfit(t); len(have) != 2 {
		t.Errorf("it has %v", have)
	}
	old := c.variable(t, "API_KEY")

	c.act(t, api.AgentRestart)
	serve()
	if c.variable(t, "API_KEY") == old {
		t.Error("the next run has the same placeholder")
	}
	c.reaches(t, "/echo/after")
	if d := c.do(t, "API_KEY="+old+"; "+withKey+"https://api.test/echo/old"); !strings.Contains(d.out, " 403") || len(o.came(world.API, "/echo/old")) > 0 {
		t.Errorf("a placeholder of the run before: %+v", d)
	}

	held := c.tell(t, "curl -sS -i https://git.test/held")
	k := o.ticket(t, "agent claw")
	c.act(t, api.AgentStop)
	if k = o.gone(t, k.ID); k.State == approval.Allowed {
		t.Errorf("the ticket is %s", k.State)
	}
	if out := c.said(t, held); strings.Contains(out, " 200") || len(o.came(world.Git, "/held")) > 0 {
		t.Errorf("%s", out)
	}
	if left := c.outfit(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}

	// A daemon that was killed leaves both behind, and the next one removes them:
	// without systemd its agents ended with it.
	c.start(t)
	serve()
	call := o.submit(t, "plain", "sleep 600")
	trust := filepath.Join(o.dir, "run/trust", call.id)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := os.Stat(trust); err == nil {
			break
		}
	}
	if err := o.daemon.end(unix.SIGKILL); err == nil {
		t.Error("it was not killed")
	}
	if left := c.outfit(t); len(left) != 2 {
		t.Errorf("there is %v: this shows nothing", left)
	}
	o.begin()
	if left := c.outfit(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if left, err := os.ReadDir(filepath.Join(o.dir, "run/trust")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	c.start(t)
	serve()
	c.reaches(t, "/echo/again")
}

// await waits for a state.
func (c *claw) await(t *testing.T, state string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if c.status(t).State == state {
			return
		}
	}
	t.Fatalf("it is %+v, not %s", c.status(t), state)
}

// TestAgentReload: what root takes away is gone at once, also for who runs
// already, and also what people were asked about by the rules before.
func TestAgentReload(t *testing.T) {
	section := func(o *outside) string { return o.clawConfig("claw", clawID, "") }
	o := newHouse(t, section)
	c := o.bring(t, "claw", clawID)
	reload := func() {
		t.Helper()
		if _, err := try[api.Daemon](c.ask(), api.Reload, api.Nothing{}); err != nil {
			t.Fatal(err)
		}
	}
	void := func(k approval.Ticket, held int) {
		t.Helper()
		if k = o.gone(t, k.ID); k.State != approval.Void {
			t.Errorf("the ticket is %s", k.State)
		}
		if d := c.get(t, held); !strings.Contains(d.out, " 403") || len(o.came(world.Git, "/held")) > 0 {
			t.Errorf("%+v", d)
		}
	}
	denied := func(path string) {
		t.Helper()
		if d := c.do(t, withKey+"https://api.test"+path); strings.Contains(d.out, " 200") || len(o.came(world.API, path)) > 0 {
			t.Errorf("%s: %+v, the server saw %v", path, d, o.came(world.API, path))
		}
	}
	c.reaches(t, "/echo/1")
	stream := c.tell(t, withKey+"--no-buffer https://api.test/wait")
	o.world.Log.Await(t, func(s world.Seen) bool { return s.Server == world.API && s.Target == "/wait" })
	held := c.tell(t, "curl -sS -i https://git.test/held")
	k := o.ticket(t, "agent claw")
	o.writeGateway(strings.Replace(gatewayRules, `"/echo/**", `, `"/echo/less/**", `, 1))
	reload()
	void(k, held)
	denied("/echo/2")
	if d := c.get(t, stream); d.status == 0 { // what was open was let out by the rules before
		t.Errorf("%+v", d)
	}
	c.reaches(t, "/echo/less/3")

	// A field that no rule looked at when the agent was started.
	o.writeGateway(gatewayRules + rule("bot.test", "deny", `fields = { chat_id = ["42"], thread = ["9"] }`))
	reload()
	const send = `curl -sS -i https://bot.test/bot$BOT_TOKEN/sendMessage -d chat_id=42 -d thread=`
	if d := c.do(t, send+"8"); !strings.Contains(d.out, " 200") {
		t.Errorf("%+v", d)
	}
	if d := c.do(t, send+"9"); !strings.Contains(d.out, " 403") {
		t.Errorf("%+v", d)
	}

	o.writeGateway(gatewayRules)
	reload()
	c.reaches(t, "/echo/4")

	o.configure(o.world.Config() + section(o) + "approver = \"none\"\n")
	reload()
	if d := c.do(t, "curl -sS -i https://git.test/held"); !strings.Contains(d.out, " 403") || strings.Contains(d.out, "(ticket ") {
		t.Errorf("%+v", d)
	}
	o.configure(o.world.Config() + section(o))
	reload()

	held = c.tell(t, "curl -sS -i https://git.test/held")
	k = o.ticket(t, "agent claw")
	o.configure(o.world.Config() + strings.Replace(section(o), "network = \"egress\"", "network = \"none\"", 1))
	reload()
	void(k, held)
	denied("/echo/5")

	// Nothing is left of it in the configuration, its profile neither.
	o.configure(o.world.Config())
	if err := os.Remove(filepath.Join(o.dir, "profiles/gateway.toml")); err != nil {
		t.Fatal(err)
	}
	reload()
	denied("/echo/6")
	if _, err := try[api.Agent](c.ask(), api.AgentRestart, api.AgentRef{Agent: "claw"}); err == nil || !strings.Contains(err.Error(), "not configured") {
		t.Errorf("an agent that is not configured was started: %v", err)
	}
	if left := c.outfit(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestAgentLockdown: an agent's connections end with it, and nothing is sent after.
func TestAgentLockdown(t *testing.T) {
	o := newHouse(t, func(o *outside) string { return o.clawConfig("claw", clawID, "") })
	c := o.bring(t, "claw", clawID)
	stream := c.tell(t, withKey+"--no-buffer https://api.test/wait")
	up := c.tell(t, `(while :; do head -c 65536 /dev/zero; sleep 0.01; done) | `+withKey+`-T - -X POST https://api.test/upload`)
	c.o.world.Log.Await(t, func(s world.Seen) bool { return s.Server == world.API && s.Target == "/upload" })
	for end := time.Now().Add(patience); !strings.Contains(c.said(t, stream), "part 0") && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // a file has no event
	}
	held := c.tell(t, "curl -sS -i https://git.test/held")
	k := o.ticket(t, "agent claw")
	if out, status := o.command("lockdown", "--reason", "drill"); status != 0 {
		t.Fatalf("%d %s", status, out)
	}
	mark := o.world.Sink.Mark(t)
	c.await(t, "stopped")
	if k = o.gone(t, k.ID); k.State == approval.Allowed {
		t.Errorf("the ticket is %s", k.State)
	}
	o.world.Log.Await(t, func(s world.Seen) bool { return s.Server == world.API && s.Target == "/upload" && s.Ended })
	before := o.world.Log.All(nil)
	if _, err := try[api.Agent](c.ask(), api.AgentStart, api.AgentRef{Agent: "claw"}); err == nil {
		t.Error("an agent was started in a lockdown")
	}
	if _, status := o.command("approve", "--yes", "--revision", fmt.Sprint(k.Revision), k.ID); status == 0 {
		t.Error("a yes in a lockdown was taken")
	}
	o.world.Sink.Silent(t, mark, at(world.API)) // the ends of connections
	if after := o.world.Log.All(nil); len(after) != len(before) || len(o.came(world.Git, "/held")) > 0 {
		t.Errorf("the servers saw %v", after)
	}
	for _, order := range []int{stream, up, held} {
		if out := c.said(t, order); strings.Contains(out, "part 1") || strings.Contains(out, " 200") && order != stream {
			t.Errorf("%s", out)
		}
	}
	if left := c.outfit(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if out, status := o.command("unlock", "--reason", "over"); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	c.start(t)
	c.reaches(t, "/echo/after")
}
