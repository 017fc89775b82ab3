// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Least and most of the limits. The least is what a shell needs to say a word;
// the most is beyond any machine and keeps sums of limits within 64 bits.
const (
	leastMemory     = 16 << 20 // the box's first process and a shell
	leastPids       = 16       // those of the box's first process count
	page            = 4 << 10  // what tmpfs counts in
	maxSize         = 16 << 40
	maxCount        = 1 << 30
	maxSpan         = 30 * 24 * time.Hour
	maxPids         = 1 << 22  // PID_MAX_LIMIT of the kernel
	maxFiles        = 1 << 20  // fs.nr_open as the kernel starts
	leastLayer      = 64 << 10 // what a file system of its own is worth while
	leastLayerFiles = 16       // some of them are the kernel's own
	maxLayerFiles   = 1 << 26
	maxConnections  = 1 << 16
	leastCores      = 0.01 // a quota of 1 ms in a period of 100 ms, the least of the kernel
	maxCores        = 8192 // NR_CPUS_RANGE_END of the kernel
)

// key is one row of the table of keys: everything the package knows of a key.
type key struct {
	name  string // dotted, as in "limits.memory"
	kind  string
	rule  string // which values are tighter
	doc   string
	bound bool // it bounds the box: part of the digest

	table    bool           // its value is a table of variables, each a setting of its own
	replaces bool           // of a table: a child's is instead of its parent's
	clear    func(*Profile) // of a table: without variables
	level    bool           // a file that sets it adds a level of the network

	schema map[string]any
	// parse turns a decoded TOML value into a change of a profile.
	parse func(v any) (func(*Profile), error)
	// settings are the key's values in p, each in its one TOML spelling.
	settings func(p *Profile) []setting
	// wider reports whether child gives something that parent doesn't.
	wider func(child, parent *Profile) bool
}

// setting is one effective value with its key, "limits.memory" or "environment.set.HOME".
type setting struct {
	name, toml string
	origin     string // of a rule; empty: the origin of the name
	level      int    // of a level's, from 1
}

// row makes a key of a field that a child replaces.
func row[T any](name string, k kind[T], o order[T], field func(*Profile) *T, doc string) key {
	return key{
		name: name, kind: k.name, rule: o.rule, doc: doc, bound: true, schema: k.schema,
		parse: func(v any) (func(*Profile), error) {
			t, err := k.parse(v)
			return func(p *Profile) { *field(p) = t }, err
		},
		settings: func(p *Profile) []setting { return []setting{{name: name, toml: k.toml(*field(p))}} },
		wider:    func(child, parent *Profile) bool { return o.wider(*field(child), *field(parent)) },
	}
}

// table makes a key of variables that a child adds to.
func table(name string, field func(*Profile) *map[string]string, doc string) key {
	return tableOf(name, variables, fixedVariables, field, doc)
}

// replacedTable makes a key of names with names of secrets, all of which a
// child's table replaces.
func replacedTable(name string, field func(*Profile) *map[string]string, doc string) key {
	k := tableOf(name, secretNames, subsetVariables, field, doc)
	k.replaces = true
	return k
}

func tableOf(name string, kind kind[map[string]string], o order[map[string]string], field func(*Profile) *map[string]string, doc string) key {
	return key{
		name: name, kind: kind.name, rule: o.rule, doc: doc, bound: true, schema: kind.schema, table: true,
		parse: func(v any) (func(*Profile), error) {
			vars, err := kind.parse(v)
			return func(p *Profile) {
				all := maps.Clone(*field(p))
				if all == nil {
					all = map[string]string{}
				}
				maps.Copy(all, vars)
				*field(p) = all
			}, err
		},
		clear: func(p *Profile) { *field(p) = nil },
		settings: func(p *Profile) []setting {
			var list []setting
			for _, n := range slices.Sorted(maps.Keys(*field(p))) {
				list = append(list, setting{name: name + "." + n, toml: strconv.Quote((*field(p))[n])})
			}
			return list
		},
		wider: func(child, parent *Profile) bool { return o.wider(*field(child), *field(parent)) },
	}
}

// about makes a key that says something of the profile and bounds nothing.
func about(name string, k kind[string], field func(*Profile) *string, doc string) key {
	r := row(name, k, unordered, field, doc)
	r.bound = false
	return r
}

// keys is the table of all keys, in the order of a file.
var keys = []key{
	about("description", text("line of text", anyLine), func(p *Profile) *string { return &p.Description },
		"What the profile is for, in one line."),
	about("extends", text("profile name", checkName), func(p *Profile) *string { return &p.Extends },
		"The profile that this one starts from. Without it: default."),

	row("files.rootfs", text("path", checkRootfs), fixed[string](), func(p *Profile) *string { return &p.Files.Rootfs },
		"A directory tree that becomes the root of the box, read-only. Empty: the system directories of the host."),
	row("files.read", set("path", checkRead), subset, func(p *Profile) *[]string { return &p.Files.Read },
		"Paths of the host that appear read-only at the same place. Replaces the parent's list."),
	row("files.proc", oneOf(ProcMasked, ProcPids), ranked(ProcPids, ProcMasked), func(p *Profile) *Proc { return &p.Files.Proc },
		"How much of /proc there is: masked has the box's processes and the facts programs ask for (meminfo, cpuinfo, stat), pids has its processes alone."),

	row("workspace.mode", oneOf(WorkspaceNone, WorkspaceScratch, WorkspaceRO, WorkspaceOverlay, WorkspaceRW),
		ranked(WorkspaceNone, WorkspaceScratch, WorkspaceRO, WorkspaceOverlay, WorkspaceRW), func(p *Profile) *WorkspaceMode { return &p.Workspace.Mode },
		"How a call sees its workspace at /workspace: not at all, as an empty directory in memory that is thrown away, read-only, with a layer of its own over it that becomes a change set when the call has ended, or written through at once."),

	row("limits.memory", size(leastMemory, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Memory },
		"Memory of the whole box, page cache and tmpfs included. There is no swap."),
	row("limits.pids", count(leastPids, maxPids), smaller[int64](), func(p *Profile) *int64 { return &p.Limits.Pids },
		"Processes and threads at one time, the box's first included."),
	row("limits.cpu", cores(leastCores, maxCores), smaller[float64](), func(p *Profile) *float64 { return &p.Limits.CPU },
		"Cores: 0.25 is a quarter of one."),
	row("limits.cpu_time", span(10*time.Millisecond, maxSpan), smaller[Duration](), func(p *Profile) *Duration { return &p.Limits.CPUTime },
		"User and system time of the whole call."),
	row("limits.wall_time", span(10*time.Millisecond, maxSpan), smaller[Duration](), func(p *Profile) *Duration { return &p.Limits.WallTime },
		"Time from start to end."),
	row("limits.stdout", size(1, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Stdout },
		"Bytes of standard output; at the next one the call ends."),
	row("limits.stderr", size(1, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Stderr },
		"Bytes of standard error; at the next one the call ends."),
	row("limits.tmp", size(page, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Tmp },
		"Size of /tmp, which is in memory."),
	row("limits.tmp_files", count(2, maxCount), smaller[int64](), func(p *Profile) *int64 { return &p.Limits.TmpFiles },
		"Inodes of /tmp, its own directory included."),
	row("limits.shm", size(page, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Shm },
		"Size of /dev/shm, which is in memory."),
	row("limits.scratch", size(page, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Scratch },
		"Size of a scratch workspace, which is in memory."),
	row("limits.scratch_files", count(2, maxCount), smaller[int64](), func(p *Profile) *int64 { return &p.Limits.ScratchFiles },
		"Inodes of a scratch workspace, its own directory included."),
	row("limits.layer", size(leastLayer, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Layer },
		"What a call may write into an overlay workspace, on disk."),
	row("limits.layer_files", count(leastLayerFiles, maxLayerFiles), smaller[int64](), func(p *Profile) *int64 { return &p.Limits.LayerFiles },
		"Inodes of the same: files, directories and names that are gone."),
	row("limits.file_size", size(1, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.FileSize },
		"Size of one written file (RLIMIT_FSIZE)."),
	row("limits.open_files", count(16, maxFiles), smaller[int64](), func(p *Profile) *int64 { return &p.Limits.OpenFiles },
		"Open descriptors of one process (RLIMIT_NOFILE)."),
	row("limits.stack", size(128<<10, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.Stack },
		"Stack of the main thread (RLIMIT_STACK); a quarter of it bounds arguments and environment."),
	row("limits.disk_read", size(64<<10, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.DiskRead },
		"Bytes per second read from block devices."),
	row("limits.disk_write", size(64<<10, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.DiskWrite },
		"Bytes per second written to block devices."),

	row("limits.net_connections", count(1, maxConnections), smaller[int64](), func(p *Profile) *int64 { return &p.Limits.NetConnections },
		"Connections out of the box at one time, those that wait for a person included."),
	row("limits.net_sent", size(1, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.NetSent },
		"Bytes that leave the box, of all connections of the call together."),
	row("limits.net_received", size(1, maxSize), smaller[Bytes](), func(p *Profile) *Bytes { return &p.Limits.NetReceived },
		"Bytes that come into the box, of all connections of the call together."),

	row("network.mode", oneOf(NetworkNone, NetworkEgress), ranked(NetworkNone, NetworkEgress), func(p *Profile) *NetworkMode { return &p.Network.Mode },
		"What the box reaches beyond itself: nothing, or what rules and people let through."),
	networkDefault,
	row("network.loopback", onOff, offIsTighter, func(p *Profile) *bool { return &p.Network.Loopback },
		"Whether the box has a 127.0.0.1 of its own, where programs test themselves."),
	networkRule,

	replacedTable("secrets", func(p *Profile) *map[string]string { return &p.Secrets },
		"Variables of the box, each with the name of a secret that is bound to hosts. The box gets a placeholder. Replaces the parent's table."),

	row("environment.pass", set("variable name", checkPass), subset, func(p *Profile) *[]string { return &p.Environment.Pass },
		"Variables taken over from the caller where it has them. Replaces the parent's list."),
	table("environment.set", func(p *Profile) *map[string]string { return &p.Environment.Set },
		"Variables with their values. Added to the parent's, name by name."),

	row("seccomp.groups", set("group name", checkName), subset, func(p *Profile) *[]string { return &p.Seccomp.Groups },
		"Named groups of system calls beyond the table that every box has. Replaces the parent's list."),

	row("effects.exec", oneOf(Allow, Ask, Deny), ranked(Deny, Ask, Allow), func(p *Profile) *Decision { return &p.Effects.Exec },
		"Whether a call starts at once, after a person's yes, or never."),
	row("effects.fs_create", oneOf(Allow, Ask, Deny), ranked(Deny, Ask, Allow), func(p *Profile) *Decision { return &p.Effects.FSCreate },
		"Whether new files of an overlay workspace are kept, kept after a person's yes, or never. What the session itself made counts as new."),
	row("effects.fs_modify", oneOf(Allow, Ask, Deny), ranked(Deny, Ask, Allow), func(p *Profile) *Decision { return &p.Effects.FSModify },
		"The same for files that were there before and have other content, or another mode."),
	row("effects.fs_delete", oneOf(Allow, Ask, Deny), ranked(Deny, Ask, Allow), func(p *Profile) *Decision { return &p.Effects.FSDelete },
		"The same for files that were there before and are gone, or moved."),
	row("effects.fs_many", count(1, maxCount), smaller[int64](), func(p *Profile) *int64 { return &p.Effects.FSMany },
		"Number of changed files above which a person is asked, whatever else is allowed."),
	row("effects.quorum", people, larger[int](), func(p *Profile) *int { return &p.Effects.Quorum },
		"How many people a yes takes, each another, where one is asked for."),
}

// keyNamed finds the row of a dotted name.
func keyNamed(name string) (*key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return nil, false
	}
	return &keys[i], true
}

// isTable reports whether name is one that keys stand in, such as "limits".
func isTable(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool {
		return k.table && k.name == name || strings.HasPrefix(k.name, name+".")
	})
}

// settings are all effective values of p, in the order of the table.
func settings(p *Profile) []setting {
	var all []setting
	for _, k := range keys {
		all = append(all, k.settings(p)...)
	}
	return all
}

func anyLine(string) error { return nil }
