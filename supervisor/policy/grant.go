// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
)

// Check refuses a scope that a person must not be able to grant: one that is
// for nothing exact, for everybody, or for every target.
func (s Scope) Check() error {
	switch {
	case !s.Effect.known():
		return fmt.Errorf("a grant can't be for %s", s.Effect)
	case s.Raw && (s.Plan != "" || s.Skill != "" || s.Script != ""):
		return errors.New("a grant for any command is for none of a skill and for no one plan")
	case s.Raw && !s.Effect.net():
		return fmt.Errorf("a grant for any command is one for a destination, never for %s", s.Effect)
	case s.Raw && s.Profile == "":
		return errors.New("a grant for any command names the profile, by its digest; another one may let a command do more")
	case !s.Raw && s.Plan == "" && s.Skill == "":
		return errors.New("a grant names a skill by its digest or a whole plan; with a program alone anything could be run")
	case s.Skill != "" && s.Script == "" && s.Plan == "":
		return errors.New("a grant for a skill names one of its scripts; with the skill alone any command could be run beside it")
	case s.Skill == "" && s.Script != "":
		return errors.New("a grant for a script names the skill that it is of, by its digest")
	case s.Skill != "" && s.Profile == "":
		return errors.New("a grant for a skill's script names the profile, by its digest; another one may let the script do more")
	case s.Session == "" && s.Agent == "":
		return errors.New("a grant is for one session or one agent; this call has neither, so that it can be allowed only once")
	case s.Session != "" && s.Agent != "":
		return errors.New("a grant is for one session or one agent, not for both")
	}
	if err := checkThrough(s.Effect, s.Through); err != nil {
		return err
	}
	return checkPattern(s.Effect, s.Target, true)
}

// Mismatch says why g does not answer s, in words for people; empty: it does.
// quorum is how many people a yes takes. All of this must hold:
//
//   - it is not revoked, and now is before its expiry and not before its creation
//   - it has uses left, or they aren't counted
//   - so many people gave it
//   - its scope could be granted (see [Scope.Check]), and it is for the effect,
//     the plan or the skill with the script, profile and workspace, the session
//     or agent, the target and, of a connection, the way through
//   - of one for any command: the question is no skill's, under its profile and
//     on its workspace
//   - with both labels and an external effect, it names that very destination: of
//     a request its method, scheme, host and port, whatever it says of paths, and
//     of everything else the target
func (g *Grant) Mismatch(s Subject, quorum int, now time.Time) string {
	c := &g.Scope
	switch {
	case c.Effect != s.Effect:
		return "it is for another effect"
	case c.Session != "" && c.Session != s.Session:
		return "it is for another session"
	case c.Agent != "" && c.Agent != s.Agent:
		return "it is for another agent"
	case c.Plan != "" && c.Plan != s.Plan:
		return "it is for another plan"
	case c.Skill != "" && c.Skill != s.Skill:
		return "it is for another skill, or for other bytes of this one"
	case c.Script != s.Script && c.Skill != "":
		return "it is for another script"
	case c.Raw && s.Skill != "":
		return "it is for commands that are no skill's"
	case c.Profile != s.Profile && (c.Skill != "" || c.Raw):
		return "it is for another profile"
	case c.Workspace != s.Workspace && (c.Skill != "" || c.Raw):
		return "it is for another workspace"
	case g.Revoked != "":
		return "it is revoked"
	case !now.Before(g.Expires):
		return "it has expired"
	case now.Before(g.Created):
		return "the clock stands before it was given"
	case g.Uses == 0:
		return "it has no uses left"
	case len(g.By) < max(1, quorum):
		return "fewer people gave it than a yes takes"
	case c.Check() != nil:
		return "it is for more than can be granted"
	case !(c.Target == s.Target || Match(s.Effect, c.Target, s.Target)):
		return "it is for another target"
	case s.Effect == NetConnect && cmp.Or(c.Through, profiles.ThroughTCP) != s.way():
		return "it is for another way through"
	case !among(s.Secrets, c.Secrets):
		return "it was given for requests without that secret"
	case s.Effect.External() && s.Labels.both() && !c.sameDestination(&s):
		return "with both labels it must name the very destination"
	}
	return ""
}

// Names writes names of secrets for Subject and Scope: each once, in order.
func Names(secrets []string) string {
	secrets = slices.Clone(secrets)
	slices.Sort(secrets)
	return strings.Join(slices.Compact(secrets), " ")
}

// among reports whether all names of some are in all.
func among(some, all string) bool {
	names := strings.Fields(all)
	return !slices.ContainsFunc(strings.Fields(some), func(n string) bool { return !slices.Contains(names, n) })
}

// sameDestination says whether a scope, which has the subject's target, names
// where it goes rather than a pattern of places. Paths are the program's to
// choose within one destination, and can carry out as much as a body can.
func (s *Scope) sameDestination(q *Subject) bool {
	if q.Effect != NetRequest {
		return s.Target == q.Target
	}
	granted, _ := parseRequest(s.Target)
	asked, _ := parseRequest(q.Target)
	granted.path, asked.path = "", ""
	return granted == asked
}
