// SPDX-License-Identifier: Apache-2.0

// Package layer knows the walls of a sandbox, what each needs of the kernel,
// and what may be done where a kernel lacks it.
//
// It is a table (layers.go's rows), a probe that fills a Host, and one pure
// function, Lower, which turns a wish into a Plan:
//
//   - the host has what the layer needs: Enforced;
//   - it lacks it, and another layer that is enforced stops the same thing:
//     Covered, and the report says by which;
//   - it lacks it, and the operator lowered the layer by name in the
//     configuration: Lowered, and every result says so;
//   - otherwise the run is refused with an error that names the missing
//     feature and how to get it.
//
// Nothing is ever lowered because something failed while the box was built:
// from there on every failure ends the run.
package layer

import (
	"fmt"
	"strings"
)

// Layer is one wall.
type Layer int

const (
	Identity Layer = iota
	Namespaces
	NamespaceTime
	NamespaceCgroup
	Root
	RootIDMap
	Seccomp
	Landlock
	LandlockTruncate
	LandlockTCP
	LandlockIoctl
	LandlockScope
	LandlockUnix
	LandlockUDP
	CgroupMemory
	CgroupSwap
	CgroupPids
	CgroupCPU
	CgroupIO
	Rlimits
	Time
	Output
	Network
	Environment
	Count
)

// String gives the name by which configuration, results and doctor know the layer.
func (l Layer) String() string {
	if l < 0 || l >= Count {
		return fmt.Sprintf("layer(%d)", int(l))
	}
	return rows[l].name
}

// MarshalText gives the layer's name.
func (l Layer) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText takes a layer's name.
func (l *Layer) UnmarshalText(b []byte) error {
	got, err := Parse(string(b))
	if err != nil {
		return err
	}
	*l = got
	return nil
}

// Parse finds a layer by its name.
func Parse(name string) (Layer, error) {
	for l := Layer(0); l < Count; l++ {
		if rows[l].name == name {
			return l, nil
		}
	}
	return 0, fmt.Errorf("no layer is called %q; the layers that can be lowered are %s", name, strings.Join(Lowerable(), ", "))
}

// Lowerable lists the names that configuration may lower.
func Lowerable() []string {
	var names []string
	for l := Layer(0); l < Count; l++ {
		if !rows[l].firm {
			names = append(names, l.String())
		}
	}
	return names
}

// State is what became of a layer.
type State int

const (
	Enforced State = iota // as wished
	Unused                // the profile does not ask for it
	Covered               // the host lacks it; another layer stops the same
	Lowered               // the operator gave it up by name
	Missing               // the host lacks it: the run is refused
)

var stateNames = []string{"enforced", "unused", "covered", "lowered", "missing"}

// String gives the state's name.
func (s State) String() string { return stateNames[s] }

// MarshalText gives the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a state's name.
func (s *State) UnmarshalText(b []byte) error {
	for i, name := range stateNames {
		if name == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("no state of a layer is called %q", b)
}

// Report is what one layer does in one sandbox.
type Report struct {
	Layer  Layer  `json:"layer"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"` // why, where the state isn't Enforced; else what of it
}

// Set is a set of layers.
type Set uint32

// Of makes a set.
func Of(layers ...Layer) Set {
	var s Set
	for _, l := range layers {
		s |= 1 << l
	}
	return s
}

// All is every layer.
const All = Set(1)<<Count - 1

// HostNetwork is a wish for a box that stays in the host's network: what
// would be an untruth there is left out, and Lower doesn't count on it.
func HostNetwork(wish Set) Set { return wish.Without(Network, LandlockTCP, LandlockUDP) }

// LedNetwork is a wish for a box whose own network leads somewhere: ports can't
// tell where to, so they are not Landlock's.
func LedNetwork(wish Set) Set { return wish.Without(LandlockTCP, LandlockUDP) }

// Has tells whether l is in the set.
func (s Set) Has(l Layer) bool { return s&(1<<l) != 0 }

// With adds layers.
func (s Set) With(layers ...Layer) Set { return s | Of(layers...) }

// Without removes layers.
func (s Set) Without(layers ...Layer) Set { return s &^ Of(layers...) }
