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
//  2. Of the rules for the effect whose pattern has the target, the most
//     specific counts: one target before a pattern, a longer pattern before a
//     shorter one, and a rule for every target last. Of equally specific ones
//     deny beats ask beats allow, and of several asks the one that takes most
//     people. No rule at all is a deny.
//  3. With both labels, untrusted and private, an allow of an external effect
//     becomes an ask: what was read could be carried out on a stranger's word.
//  4. A grant makes an ask an allow, never a deny. See [Grant.Mismatch] for all
//     that must hold. With both labels it must name that very destination, not
//     a pattern, where the effect is an external one.
//
// So a further rule that denies never makes an answer weaker, a label never
// does, and the order in which rules and grants are given means nothing.
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
