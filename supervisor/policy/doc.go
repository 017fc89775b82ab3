// SPDX-License-Identifier: Apache-2.0

// Package policy decides. It is pure: the same question, rules, grants and
// time give the same answer, and nothing is read, written or remembered.
//
//	rules := policy.FromProfile(profile)                    // once for each loaded profile
//	verdict := policy.Decide(subject, rules, grants, now)   // for each effect of a call
//	verdict, lines := policy.Explain(subject, rules, grants, now)
//
// # The order of things
//
//  1. The subject must be spelled in the one way that there is for its target
//     (see [Subject.Check]), since a name in another spelling would walk past a
//     rule. If it is not: deny.
//  2. Of the rules for the effect that are about the target, each level (see
//     [Rule].Level) takes the most specific: see below. Of equally specific ones
//     deny beats ask beats allow, and of several asks the one that takes most
//     people. Of what the levels say the strictest counts; a level without a
//     rule for it says nothing. No rule at all is a deny.
//  3. With both labels, untrusted and private, an allow of an external effect
//     becomes an ask: what was read could be carried out on a stranger's word.
//  4. A grant makes an ask an allow, never a deny. See [Grant.Mismatch] for all
//     that must hold. With both labels it must name that very destination, not
//     a pattern, where the effect is an external one.
//
// So a further rule that denies never makes an answer weaker, nor does a further
// level or a label, and the order in which rules and grants are given means nothing.
//
// # What is more specific
//
// Of secrets and files: one target before a pattern, a longer pattern before a
// shorter one, and a rule for every target last. Of destinations, by the first
// of these that tells:
//
//   - host: one before a longer suffix before a shorter one before any
//   - path: one before a longer DIR/** before a shorter one before any
//   - method: named before any
//   - fields: named before any
//
// Ports, schemes and ways through say whether a rule is about a destination,
// and not how specifically.
//
// A path is also judged as a server may read it that decodes first and asks
// later (see [profiles.NormalPath]): what a rule with paths says of that reading
// counts where it is stricter. A rule with fields is about a request whose every
// such field is there, with listed values alone. Where that can't be told,
// because of values beside listed ones or a body that could not be looked
// at, the rule counts where it is stricter than the rest.
//
// # Grants of destinations
//
// One yes may serve more than one request: [Widen] says for what a grant may be.
// That very destination of the fourth step is a method, a scheme, a host and
// a port: whoever may send anything there can say anything in a path, so that a
// pattern of paths gives nothing more away, and any method does.
//
// # Patterns
//
// See [Match]. There are no regular expressions, and nothing that means
// everything: a rule for every target has no pattern, and a grant always names
// its target.
//
// # Limits
//
// Who counts down the uses of a grant, sees to it that two calls at once don't
// use the last one twice, and that who gave it still may, is package approval
// (Book.Use). A grant for a skill's script leaves arguments, environment and
// standard input open. Labels are
// what the caller says they are: see package session.
package policy
