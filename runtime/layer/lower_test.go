// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"errors"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/runtime/wire"
)

// lacking is a whole host less some features.
func lackingHost(abi int, features ...Feature) Host {
	h := Host{Kernel: "6.1.0", Landlock: abi}
	for _, f := range features {
		h.Lacks[f] = "none here"
	}
	return h
}

func TestLower(t *testing.T) {
	tests := []struct {
		name    string
		wish    Set
		host    Host
		given   Set
		states  map[Layer]State
		abi     int
		missing []Layer
	}{
		{name: "a host with everything", wish: All, host: lackingHost(11), abi: 11,
			states: map[Layer]State{Landlock: Enforced, LandlockUDP: Enforced, CgroupSwap: Enforced, NamespaceTime: Enforced}},
		{name: "a newer Landlock than is known", wish: All, host: lackingHost(15), abi: wire.MaxABI,
			states: map[Layer]State{Landlock: Enforced}},
		{name: "Debian 12", wish: All, host: lackingHost(2), abi: 2,
			states: map[Layer]State{Landlock: Enforced, LandlockTruncate: Covered, LandlockTCP: Covered,
				LandlockIoctl: Covered, LandlockScope: Covered, LandlockUnix: Covered, LandlockUDP: Covered}},
		{name: "Debian 13", wish: All, host: lackingHost(6), abi: 6,
			states: map[Layer]State{LandlockScope: Enforced, LandlockUnix: Covered, LandlockUDP: Covered}},
		{name: "Landlock without reparenting", wish: All, host: lackingHost(1),
			states: map[Layer]State{Landlock: Missing}, missing: []Layer{Landlock}},
		{name: "no Landlock", wish: All, host: lackingHost(0),
			states: map[Layer]State{Landlock: Missing, LandlockTCP: Covered}, missing: []Layer{Landlock}},
		{name: "no Landlock, given up", wish: All, host: lackingHost(0), given: Of(Landlock),
			states: map[Layer]State{Landlock: Lowered, LandlockTruncate: Lowered, LandlockScope: Lowered}},
		{name: "given up though it is there", wish: All, host: lackingHost(7), given: Of(Landlock),
			states: map[Layer]State{Landlock: Lowered}},
		{name: "one part of Landlock given up", wish: All, host: lackingHost(7), given: Of(LandlockTCP), abi: 7,
			states: map[Layer]State{Landlock: Enforced, LandlockTCP: Lowered, LandlockScope: Enforced}},
		{name: "not asked for", wish: All.Without(LandlockTCP, RootIDMap), host: lackingHost(7, IDMappedMounts), abi: 7,
			states: map[Layer]State{LandlockTCP: Unused, RootIDMap: Unused}},
		{name: "no id-mapped mounts", wish: All, host: lackingHost(7, IDMappedMounts), abi: 7,
			states: map[Layer]State{RootIDMap: Missing}, missing: []Layer{RootIDMap}},
		{name: "no seccomp", wish: All, host: lackingHost(7, SeccompFilter), abi: 7,
			states: map[Layer]State{Seccomp: Missing}, missing: []Layer{Seccomp, LandlockUnix}},
		{name: "a cover that does not hold", wish: All, host: lackingHost(4, SeccompFilter), given: Of(Seccomp), abi: 4,
			states: map[Layer]State{Seccomp: Lowered, LandlockIoctl: Missing}, missing: []Layer{LandlockIoctl, LandlockUnix}},
		{name: "firm layers can't be given up", wish: All, host: lackingHost(7, UserNamespace), given: Of(Identity), abi: 7,
			states: map[Layer]State{Identity: Missing}, missing: []Layer{Identity}},
		{name: "firm layers stay though given up", wish: All, host: lackingHost(7), given: Of(Identity, Root, Network), abi: 7,
			states: map[Layer]State{Identity: Enforced, Root: Enforced, Network: Enforced}},
		{name: "the host's network", wish: HostNetwork(All), host: lackingHost(7), abi: 7,
			states: map[Layer]State{Network: Unused, LandlockTCP: Unused, LandlockUDP: Unused, LandlockScope: Enforced, Namespaces: Enforced}},
		{name: "the host's network and its abstract sockets", wish: HostNetwork(All), host: lackingHost(5), abi: 5,
			states: map[Layer]State{Network: Unused, LandlockScope: Missing}, missing: []Layer{LandlockScope}},
		{name: "the host's network and its abstract sockets, given up", wish: HostNetwork(All), host: lackingHost(5), given: Of(LandlockScope), abi: 5,
			states: map[Layer]State{Network: Unused, LandlockScope: Lowered}},
		{name: "no time namespace", wish: All, host: lackingHost(7, TimeNamespace), abi: 7,
			states: map[Layer]State{NamespaceTime: Covered}},
		{name: "no cgroup namespace", wish: All, host: lackingHost(7, CgroupNamespace), abi: 7,
			states: map[Layer]State{NamespaceCgroup: Covered}},
		{name: "no swap accounting", wish: All, host: lackingHost(7, SwapAccounting), abi: 7,
			states: map[Layer]State{CgroupSwap: Missing}, missing: []Layer{CgroupSwap}},
		{name: "no controllers", wish: All, host: lackingHost(7, MemoryController, SwapAccounting, PidsController, CPUController, IOController), abi: 7,
			states:  map[Layer]State{CgroupMemory: Missing, CgroupIO: Missing},
			missing: []Layer{CgroupMemory, CgroupSwap, CgroupPids, CgroupCPU, CgroupIO}},
		{name: "no controllers, all given up", wish: All,
			host:  lackingHost(7, MemoryController, SwapAccounting, PidsController, CPUController, IOController),
			given: Of(CgroupMemory, CgroupSwap, CgroupPids, CgroupCPU, CgroupIO), abi: 7,
			states: map[Layer]State{CgroupMemory: Lowered, CgroupSwap: Lowered, CgroupPids: Lowered}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan, err := Lower(test.wish, test.host, test.given)
			var lack *MissingError
			if errors.As(err, &lack) != (test.missing != nil) {
				t.Fatalf("error %v, want missing %v", err, test.missing)
			}
			if lack != nil {
				var got []Layer
				for _, r := range lack.Reports {
					got = append(got, r.Layer)
					if !strings.Contains(err.Error(), r.Layer.String()) {
						t.Errorf("the error does not name %v: %v", r.Layer, err)
					}
				}
				if Of(got...) != Of(test.missing...) {
					t.Errorf("missing %v, want %v", got, test.missing)
				}
			}
			if plan.ABI != test.abi {
				t.Errorf("Landlock %d, want %d", plan.ABI, test.abi)
			}
			for l, want := range test.states {
				if r := plan.Reports[l]; r.State != want {
					t.Errorf("%v is %v (%s), want %v", l, r.State, r.Detail, want)
				}
			}
			for _, r := range plan.Reports {
				if plan.Enforce.Has(r.Layer) != (r.State == Enforced) {
					t.Errorf("%v: enforce and report differ", r.Layer)
				}
				if r.State != Enforced && r.Detail == "" {
					t.Errorf("%v is %v without a word why", r.Layer, r.State)
				}
			}
		})
	}
}

// TestNoSwapCovers: where there is no swap, none has to be accounted.
func TestNoSwapCovers(t *testing.T) {
	h := lackingHost(7, SwapAccounting)
	h.NoSwap = true
	plan, err := Lower(All, h, 0)
	if err != nil || plan.Reports[CgroupSwap].State != Covered {
		t.Errorf("%v, %+v", err, plan.Reports[CgroupSwap])
	}
}

// TestLowerNeverLoosensSilently tries every single missing feature with
// nothing given up: either it is covered by a layer that is enforced, or the
// run is refused.
func TestLowerNeverLoosensSilently(t *testing.T) {
	for f := Feature(0); f < NumFeatures; f++ {
		for abi := range wire.MaxABI + 1 {
			plan, err := Lower(All, lackingHost(abi, f), 0)
			for _, r := range plan.Reports {
				switch r.State {
				case Enforced:
				case Covered:
					if !plan.Enforce.Has(rows[r.Layer].cover) {
						t.Errorf("feature %d, abi %d: %v is covered by %v, which is not enforced", f, abi, r.Layer, rows[r.Layer].cover)
					}
				case Missing:
					if err == nil {
						t.Errorf("feature %d, abi %d: %v is missing and the run goes on", f, abi, r.Layer)
					}
				default:
					t.Errorf("feature %d, abi %d: %v is %v", f, abi, r.Layer, r.State)
				}
			}
		}
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for l := Layer(0); l < Count; l++ {
		got, err := Parse(l.String())
		if err != nil || got != l {
			t.Errorf("%v: %v %v", l, got, err)
		}
		if What(l) == "" {
			t.Errorf("%v: nothing says what it does", l)
		}
	}
	if _, err := Parse("landlok"); err == nil || !strings.Contains(err.Error(), "landlock") {
		t.Errorf("%v", err)
	}
	for _, name := range Lowerable() {
		if name == "identity" || name == "network" {
			t.Errorf("%s can be lowered", name)
		}
	}
}
