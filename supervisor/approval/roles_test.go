// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"os"
	"path/filepath"
	"testing"
)

func rolesOf(t *testing.T, passwd, group string, names RoleNames, agents ...uint32) Roles {
	t.Helper()
	r, err := NewRoles(names, agents)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r.passwd, r.group = filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for file, text := range map[string]string{r.passwd: passwd, r.group: group} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

const passwd = `root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000::/home/alice:/bin/bash
bob:x:1001:1000::/home/bob:/bin/bash
carol:x:1002:1002::/home/carol:/bin/bash
caroline:x:1002:1002::/home/carol:/bin/bash
claw:x:990:990::/var/lib/claw:/usr/sbin/nologin
broken:x:abc:abc::/:/bin/false
zero:x:1005:0::/:/bin/false
short
`

const group = `root:x:0:
alice:x:1000:
ops:x:2000:bob,claw,caroline
broken:x:abc:bob
# ops:x:2000:alice
empty:x:2001:
`

// Who a uid is, is said by files that root alone writes, and an
// agent is nobody whatever they say.
func TestRolesOf(t *testing.T) {
	r := rolesOf(t, passwd, group, RoleNames{
		Owner:    []string{"carol"},
		Admin:    []string{"uid:1000"},
		Approver: []string{"alice", "@ops", "uid:990", "claw", "uid:4000", "nobody-here", "@root"},
		Viewer:   []string{"bob", "@alice", "broken"},
	}, 990)
	for uid, want := range map[uint32]struct {
		role Role
		name string
	}{
		0:       {Owner, "root"},
		1000:    {Admin, "alice"},  // the higher of two
		1001:    {Approver, "bob"}, // by group before viewer by name
		1002:    {Owner, "carol"},  // either name of the uid
		990:     {NoRole, "claw"},  // the agent: by name, number and group
		4000:    {Approver, ""},    // without a name
		4001:    {NoRole, ""},      // unknown
		1005:    {NoRole, "zero"},  // group root as the primary one
		1 << 31: {NoRole, ""},      // more than the parser's files have
	} {
		if role, name := r.Of(uid); role != want.role || name != want.name {
			t.Errorf("uid %d: %s, %q; want %s, %q", uid, role, name, want.role, want.name)
		}
	}
	primary := rolesOf(t, passwd, group, RoleNames{Viewer: []string{"@alice"}})
	if role, _ := primary.Of(1001); role != Viewer {
		t.Errorf("by primary group: %s", role)
	}
}

// They are looked up when they are used.
func TestRolesChange(t *testing.T) {
	r := rolesOf(t, passwd, group, RoleNames{Approver: []string{"@ops"}})
	if role, _ := r.Of(1001); role != Approver {
		t.Fatalf("before: %s", role)
	}
	if err := os.WriteFile(r.group, []byte("ops:x:2000:caroline\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if role, _ := r.Of(1001); role != NoRole {
		t.Errorf("after bob left: %s", role)
	}
	if err := os.Remove(r.group); err != nil {
		t.Fatal(err)
	}
	if role, _ := r.Of(1002); role != NoRole {
		t.Errorf("without a file of groups: %s", role)
	}
	r = rolesOf(t, passwd, group, RoleNames{Approver: []string{"alice", "uid:1001"}})
	if err := os.Remove(r.passwd); err != nil {
		t.Fatal(err)
	}
	if role, _ := r.Of(1000); role != NoRole {
		t.Errorf("without a file of users, by name: %s", role)
	}
	if role, _ := r.Of(1001); role != Approver {
		t.Errorf("without a file of users, by number: %s", role)
	}
}

func TestRoleNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"alice": true, "@ops": true, "uid:0": true, "uid:4294967294": true, "a.b-c_d$": true, "_apt": true,
		"": false, "@": false, "uid:": false, "uid:-1": false, "uid:01": false, "uid:4294967295": false, "uid:4294967296": false,
		"uid:a": false, "a b": false, "a:b": false, "a,b": false, "a\n": false, "*": false, "@*": false, "@@ops": false, "ä": false, "-a": false,
	} {
		if _, err := NewRoles(RoleNames{Viewer: []string{name}}, nil); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := NewRoles(RoleNames{}, []uint32{0}); err == nil {
		t.Error("root may be an agent")
	}
	var r Role
	for _, want := range []Role{Viewer, Approver, Admin, Owner} {
		if err := r.UnmarshalText([]byte(want.String())); err != nil || r != want {
			t.Errorf("%s: %s, %v", want, r, err)
		}
	}
	for _, name := range []string{"none", "root", "", "Owner"} {
		if err := r.UnmarshalText([]byte(name)); err == nil {
			t.Errorf("%q is a role", name)
		}
	}
}

func FuzzRoles(f *testing.F) {
	f.Add(passwd, group, "@ops", uint32(1001))
	f.Fuzz(func(t *testing.T, passwd, group, name string, uid uint32) {
		names := RoleNames{Owner: []string{name}}
		if _, err := NewRoles(names, nil); err != nil {
			return
		}
		r := rolesOf(t, passwd, group, names, 7)
		if role, _ := r.Of(7); role != NoRole {
			t.Errorf("an agent is %s", role)
		}
		if role, _ := r.Of(0); role != Owner {
			t.Errorf("root is %s", role)
		}
		r.Of(uid)
	})
}
