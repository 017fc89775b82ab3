// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Show writes every effective value of l and which file set it, as an aligned
// table in the order and the spelling of a profile file.
func Show(w io.Writer, l *Loaded) error {
	fmt.Fprintf(w, "# profile %s, from %s\n# digest %s\n", l.Profile.Name, visible(l.Source), l.Digest)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	group := ""
	for _, s := range settings(&l.Profile) {
		if s.level > 0 {
			continue
		}
		table, name := splitName(s.name)
		if table != group {
			if group == "network" {
				showLevels(tab, l.Profile.Network)
			}
			// A line without a cell ends a column, so that each table is
			// aligned for itself.
			fmt.Fprintf(tab, "\n[%s]\n", table)
			group = table
		}
		fmt.Fprintf(tab, "%s = %s\t# %s\n", name, s.toml, visible(l.Origin[s.name]))
	}
	return tab.Flush()
}

// showLevels writes the rules, level by level where there are several.
func showLevels(w io.Writer, n Network) {
	if n.Mode != NetworkEgress {
		return
	}
	for i, l := range n.Levels {
		if len(n.Levels) > 1 {
			rest := "the others decide about the rest"
			if l.Default != "" {
				rest = fmt.Sprintf("the rest is %q", l.Default)
			}
			fmt.Fprintf(w, "\n# level %d of %d, by %s: %s. The strictest level counts.\n", i+1, len(n.Levels), visible(l.Origin), rest)
		}
		for j := range l.Rules {
			r := &l.Rules[j]
			fmt.Fprintf(w, "\n[[network.rule]] # %s\n", visible(r.Origin))
			for _, s := range r.settings() {
				fmt.Fprintf(w, "%s = %s\n", s.name, s.toml)
			}
		}
	}
}

// splitName parts "environment.set.HOME" into "environment.set" and "HOME".
func splitName(name string) (table, last string) {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)], name[i+1:]
}
