// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/changeset"
)

var update = flag.Bool("update", false, "rewrite docs/sockets.md")

// entry is a constant of this package: a method or a notification.
type entry struct {
	name string // as it is sent
	doc  string // what is taken and given
}

// source is what the reference is made of: the messages as they are written.
type source struct {
	methods, notices []entry
	types            map[string]*ast.TypeSpec // by name, with the package's where it is another
	docs             map[string]string
	values           map[string][]string // of a type of strings
	says             map[string]bool     // types that write themselves as text
}

// folders have the types that messages are made of.
var folders = map[string]string{
	"": ".", "approval": "../approval", "policy": "../policy", "changes": "../changes", "changeset": "../changeset", "commit": "../commit",
	"secrets": "../secrets", "packet": "../relay/packet",
	"runtime": "../../runtime", "layer": "../../runtime/layer", "rootfs": "../../runtime/rootfs",
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{types: map[string]*ast.TypeSpec{}, docs: map[string]string{}, values: map[string][]string{}, says: map[string]bool{}}
	for _, pkg := range slices.Sorted(maps.Keys(folders)) {
		dir := folders[pkg]
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", dir, files, err)
		}
		if i := slices.Index(files, "message.go"); i > 0 { // its methods first
			files = slices.Insert(slices.Delete(files, i, i+1), 0, "message.go")
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				switch d := d.(type) {
				case *ast.GenDecl:
					s.declaration(pkg, d, pkg == "")
				case *ast.FuncDecl:
					if of, ok := receiver(d); ok && d.Name.Name == "MarshalText" {
						s.says[qualified(pkg, of)] = true
					}
				}
			}
		}
	}
	for _, k := range changeset.Kinds() {
		s.values["changeset.Kind"] = append(s.values["changeset.Kind"], k.String())
	}
	for k := changeset.None; k <= changeset.Special; k++ {
		s.values["changeset.Type"] = append(s.values["changeset.Type"], k.String())
	}
	return s
}

// receiver gives the type that a method is of.
func receiver(f *ast.FuncDecl) (string, bool) {
	if f.Recv == nil {
		return "", false
	}
	of, ok := f.Recv.List[0].Type.(*ast.Ident)
	if !ok {
		return "", false
	}
	return of.Name, true
}

// declaration takes types, string constants, and those that name a method.
func (s *source) declaration(pkg string, g *ast.GenDecl, own bool) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			name := qualified(pkg, spec.Name.Name)
			s.types[name] = spec
			s.docs[name] = strings.Join(strings.Fields(g.Doc.Text()), " ")
		case *ast.ValueSpec:
			if len(spec.Values) != 1 {
				continue
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || g.Tok != token.CONST {
				continue
			}
			value, _ := strconv.Unquote(literal.Value) // it was parsed
			e := entry{value, strings.TrimSpace(spec.Comment.Text())}
			switch of, typed := spec.Type.(*ast.Ident); {
			case typed:
				s.values[qualified(pkg, of.Name)] = append(s.values[qualified(pkg, of.Name)], value)
			case own && (strings.HasPrefix(g.Doc.Text(), "The methods.") || strings.HasPrefix(g.Doc.Text(), "The methods about ")):
				s.methods = append(s.methods, e)
			case own && strings.HasPrefix(g.Doc.Text(), "Notifications,"):
				s.notices = append(s.notices, e)
			}
		}
	}
}

func qualified(pkg, name string) string {
	if pkg == "" || !ast.IsExported(name) {
		return name
	}
	return pkg + "." + name
}

// TestRights: each method has one row, is on a socket, and takes a role where
// roles are asked for.
func TestRights(t *testing.T) {
	rows := make(map[string]int)
	for _, r := range Rights() {
		rows[r.Method]++
		if !r.Call && !r.Approval && !r.Admin {
			t.Errorf("%s is nowhere", r.Method)
		}
		if (r.Approval || r.Admin) != (r.Role > approval.NoRole) {
			t.Errorf("%s takes the role %v", r.Method, r.Role)
		}
		if r.Approval && !r.Admin {
			t.Errorf("root can't use %s", r.Method)
		}
		if !r.Approval && r.Admin && r.Role != approval.Owner {
			t.Errorf("%s is root's alone and takes the role %v", r.Method, r.Role)
		}
	}
	methods := readSource(t).methods
	for _, m := range methods {
		if rows[m.name] != 1 {
			t.Errorf("%s has %d rows", m.name, rows[m.name])
		}
		delete(rows, m.name)
	}
	if len(rows) > 0 || len(methods) < 30 {
		t.Errorf("%d methods; rows without one: %v", len(methods), rows)
	}
}

// TestRightsOf holds what matters most to the letter: what an agent can ask
// for, and what each role can do that the one below can't.
func TestRightsOf(t *testing.T) {
	var caller []string
	of := make(map[approval.Role][]string)
	for _, r := range Rights() {
		if r.Call {
			caller = append(caller, r.Method)
		}
		if r.Approval {
			of[r.Role] = append(of[r.Role], r.Method)
		}
	}
	if want := []string{CallSubmit, CallWait, CallFollow, CallCancel, CallList, CallShow, CallExplain, SecretPlaceholders}; !slices.Equal(caller, want) {
		t.Errorf("a caller has %v", caller)
	}
	for role, want := range map[approval.Role][]string{
		approval.Approver: {CallStop, TicketAnswer},
		approval.Admin:    {GrantRevoke, ChangesCommit, ChangesDiscard, ChangesUndo, TrashEmpty, SessionRemove, AgentStop, AgentFreeze, Lockdown},
		approval.Owner:    {SessionClear, AgentClear, Unlock},
	} {
		if !slices.Equal(of[role], want) {
			t.Errorf("%v has %v, want %v", role, of[role], want)
		}
	}
	for _, method := range of[approval.Viewer] {
		if strings.Contains(method, "answer") || strings.Contains(method, "stop") || method == Lockdown {
			t.Errorf("a viewer has %s", method)
		}
	}
	Rights()[0].Call = false
	if !Rights()[0].Call {
		t.Error("the table can be changed from outside")
	}
}

// TestParameters: fieldsOf knows every key because every field has its own.
func TestParameters(t *testing.T) {
	seen := make(map[reflect.Type]bool)
	var check func(reflect.Type)
	check = func(of reflect.Type) {
		if of = plain(of); of == nil || seen[of] {
			return
		}
		seen[of] = true
		switch of.Kind() {
		case reflect.Struct:
			for f := range of.Fields() {
				if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key == "" || key == "-" || f.Anonymous || !f.IsExported() {
					t.Errorf("%s.%s has no key of its own", of, f.Name)
				}
				check(f.Type)
			}
		case reflect.Slice, reflect.Array, reflect.Pointer, reflect.Map:
			check(of.Elem())
		}
	}
	for _, params := range []any{
		Submit{}, CallRef{}, Follow{}, CallFilter{}, Stop{}, TicketFilter{}, TicketRef{}, approval.Answer{}, GrantRef{},
		SessionRef{}, Clear{}, AgentRef{}, Logs{}, Restore{}, LockdownOrder{}, Reason{}, Nothing{}, envelope{},
		ChangesFilter{}, ChangesRef{}, ChangesPart{}, ChangesPath{}, ChangesChoice{}, TrashOrder{},
		NewSecret{}, SecretRef{}, SecretValue{}, SkillBinding{}, SkillVariables{}, SecretNames{},
	} {
		check(reflect.TypeOf(params))
	}
}

const referenceHead = `# Sockets

<!-- Written by "go generate ./supervisor/api" from message.go, changes.go, secrets.go and the table of rights. Edit those. -->

clawsupd is spoken to over Unix sockets below ` + "`/run/clawsup`" + `, in JSON-RPC 2.0, one object on a line. The
package comment of ` + "`supervisor/api`" + ` has the protocol: framing, descriptors, who asks, order, bounds. Parameters are
read to the letter: an unknown key, a key that is there twice, and null are errors. In results, take keys that you don't know.

| socket | who | what for |
|---|---|---|
| ` + "`call.sock`" + ` | root; in an agent's box one of its own, that agent | ask for calls, and see one's own |
| ` + "`approval.sock`" + ` | people with a role, from no box | see everything, answer, stop |
| ` + "`admin.sock`" + ` | root, from no box | the same as owner, and what changes the daemon |

On ` + "`call.sock`" + ` a caller sees its own calls alone. On the others each method takes at least the role in its row: viewer,
approver, admin, owner, each of which includes those before it. Root is owner.

`

// reference writes the page.
func (s *source) reference(t *testing.T) []byte {
	var out bytes.Buffer
	out.WriteString(referenceHead)
	out.WriteString("## Methods\n\n| method | parameters → result | call.sock | approval.sock | admin.sock |\n|---|---|---|---|---|\n")
	rows := make(map[string]Right)
	for _, r := range Rights() {
		rows[r.Method] = r
	}
	said := ""
	for _, m := range s.methods {
		r := rows[m.name]
		said += " " + m.doc
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", m.name, s.linked(m.doc),
			cell(r.Call, "yes"), cell(r.Approval, r.Role.String()), cell(r.Admin, "yes"))
	}
	out.WriteString("\n## Notifications\n\nThese the daemon sends while a method runs that says so, before its answer.\n\n| notification | parameters |\n|---|---|\n")
	for _, n := range s.notices {
		said += " " + n.doc
		fmt.Fprintf(&out, "| `%s` | %s |\n", n.name, s.linked(n.doc))
	}
	out.WriteString("\n## Errors\n\n| code | name |\n|---|---|\n")
	var codes []Code
	for c := range codeNames {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	for _, c := range codes {
		fmt.Fprintf(&out, "| %d | %s |\n", c, c)
	}
	out.WriteString("\n## Messages\n\nA key that is marked optional is left out where it has no value. " +
		"A time is text as of RFC 3339, a duration text as \"1m30s\", \"bytes\" are base64, and a string of any bytes is a string, " +
		"or where that would not be exact `{\"base64\": ...}`.\n")
	for _, name := range s.reachable(said) {
		spec := s.types[name].Type.(*ast.StructType)
		fmt.Fprintf(&out, "\n### %s\n\n%s\n", name, escape(s.docs[name]))
		if spec.Fields.NumFields() == 0 {
			continue
		}
		out.WriteString("\n| key | type | meaning |\n|---|---|---|\n")
		s.fields(t, &out, name)
	}
	return out.Bytes()
}

// all gives the fields of a struct, those of what it embeds among them.
func (s *source) all(name string) (list []*ast.Field) {
	for _, f := range s.types[name].Type.(*ast.StructType).Fields.List {
		if of, ok := f.Type.(*ast.Ident); ok && f.Names == nil {
			list = append(list, s.all(qualified(packageOf(name), of.Name))...)
			continue
		}
		list = append(list, f)
	}
	return list
}

// fields writes the keys of a struct.
func (s *source) fields(t *testing.T, out *bytes.Buffer, name string) {
	t.Helper()
	for _, f := range s.all(name) {
		key, option := "", ""
		if f.Tag != nil {
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			key, option, _ = strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		}
		kind := s.kind(f.Type, packageOf(name))
		if option != "" {
			kind += ", optional"
		}
		doc := strings.TrimSpace(f.Comment.Text())
		if doc == "" {
			doc = " "
		}
		for _, n := range f.Names {
			fmt.Fprintf(out, "| `%s` | %s | %s |\n", cmp.Or(key, n.Name), kind, escape(doc))
		}
	}
}

func cell(there bool, text string) string {
	if there {
		return text
	}
	return "–"
}

// escape keeps text from being taken for Markdown.
func escape(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "[", `\[`).Replace(text)
}

func packageOf(name string) string {
	pkg, _, found := strings.Cut(name, ".")
	if !found {
		return ""
	}
	return pkg
}

var typeName = regexp.MustCompile(`\b(?:[a-z]+\.)?[A-Z]\w*`)

// structs gives the messages that a text names.
func (s *source) structs(text string) (names []string) {
	for _, name := range typeName.FindAllString(text, -1) {
		if spec := s.types[name]; spec != nil {
			if _, ok := spec.Type.(*ast.StructType); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

func link(name string) string {
	return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(strings.ReplaceAll(name, ".", "")))
}

// linked makes links of the messages that a line names.
func (s *source) linked(text string) string {
	return typeName.ReplaceAllStringFunc(escape(strings.ReplaceAll(text, "[]", "list of ")), func(name string) string {
		if len(s.structs(name)) == 1 {
			return link(name)
		}
		return name
	})
}

// kind gives a type as it is in JSON.
func (s *source) kind(e ast.Expr, pkg string) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return s.kind(e.X, pkg)
	case *ast.ArrayType:
		if of, ok := e.Elt.(*ast.Ident); ok && of.Name == "byte" {
			return "bytes"
		}
		return "list of " + s.kind(e.Elt, pkg)
	case *ast.MapType:
		return "object of " + s.kind(e.Value, pkg)
	case *ast.SelectorExpr:
		return s.named(e.X.(*ast.Ident).Name + "." + e.Sel.Name)
	case *ast.Ident:
		return s.named(qualified(pkg, e.Name))
	}
	return "any"
}

func (s *source) named(name string) string {
	switch name {
	case "string":
		return "string"
	case "bool":
		return "boolean"
	case "int", "int64", "uint8", "uint16", "uint32", "uint64":
		return "integer"
	case "time.Time":
		return "time"
	case "time.Duration":
		return "integer (nanoseconds)"
	case "Duration":
		return "duration"
	case "raw.String":
		return "string of any bytes"
	}
	if len(s.structs(name)) == 1 {
		return link(name)
	}
	if values := s.values[name]; values != nil {
		return `"` + strings.Join(values, `", "`) + `"`
	}
	if spec := s.types[name]; spec != nil && !s.says[name] {
		if of, ok := spec.Type.(*ast.Ident); ok {
			return s.named(of.Name)
		}
	}
	return "string (" + strings.ToLower(name[strings.Index(name, ".")+1:]) + ")" // a type that writes itself as text
}

// reachable gives the messages that a text names, and those that these are made of.
func (s *source) reachable(text string) (all []string) {
	for queue := s.structs(text); len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		if slices.Contains(all, name) {
			continue
		}
		all = append(all, name)
		for _, f := range s.all(name) {
			ast.Inspect(f.Type, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					queue = append(queue, s.structs(n.X.(*ast.Ident).Name+"."+n.Sel.Name)...)
					return false
				case *ast.Ident:
					queue = append(queue, s.structs(qualified(packageOf(name), n.Name))...)
				}
				return true
			})
		}
	}
	return all
}

// TestReference holds the committed page to the messages and the rights.
func TestReference(t *testing.T) {
	s := readSource(t)
	got := s.reference(t)
	path := filepath.Join("..", "..", "docs", "sockets.md")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the messages and the rights say; run go generate ./supervisor/api", path)
	}
	for _, e := range append(s.methods, s.notices...) {
		if e.doc == "" {
			t.Errorf("%s says nothing of its parameters", e.name)
		}
		if !bytes.Contains(got, []byte("| `"+e.name+"` | ")) {
			t.Errorf("the reference lacks %s", e.name)
		}
	}
	for i, l := range strings.Split(string(got), "\n") {
		if strings.HasPrefix(l, "|") && (strings.Contains(l, "||") || strings.Contains(l, "string ()")) {
			t.Errorf("line %d: %s", i+1, l)
		}
	}
}

// TestReferenceMeans holds the words of the page to what encoding/json does.
func TestReferenceMeans(t *testing.T) {
	s := readSource(t)
	page := string(s.reference(t))
	for _, want := range []string{
		"| `ticket.answer` | [approval.Answer](#approvalanswer) → [Answered](#answered) | – | approver | yes |",
		"| `call.submit` | [Submit](#submit) → [Call](#call) | yes | – | – |",
		"| `args` | list of string of any bytes, optional |",
		"| `timeout` | duration, optional |",
		"| `verdict` | \"allow\", \"grant\", \"deny\", \"change\" |",
		"| `effect` | string (effect) |",
		"### runtime.Usage\n",
		"| 3 | conflict |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
}
