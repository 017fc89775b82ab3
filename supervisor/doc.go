// SPDX-License-Identifier: Apache-2.0

// Package supervisor turns a request into a plan, decides about it, and has
// package runtime carry it out.
//
// The order is always the same:
//
//	config, err := supervisor.LoadConfig(path)     // root-owned TOML, strict
//	s, err := supervisor.Open(ctx, config)         // root: probe, sweep, stores
//	plan, err := s.Plan(ctx, request)              // to the exact bytes and limits
//	denial := plan.Decide(ctx, ask)                // by profile, or by a person
//	result := s.Run(ctx, plan, streams, signals)   // once
//	err = s.Close()
//
// A request names things: a skill, a profile, a directory. A plan has them
// resolved: the sealed copy of the skill by digest, the profile with every
// value, the directory by device and inode. Facts say for people what the
// plan is; the digest covers all that decides what runs, and nothing else.
// Run makes sure that the named things still are what was planned, and the
// mounts are made by identity.
//
// What a stranger wrote is read in a box: the front matter of a skill by
// clawsup-inspect, in an empty box made for the one question.
//
// # Limits
//
// A raw command's executable is sealed by path, device, inode, size and
// change time, which is checked right before the box is given its call, not
// by the descriptor that is executed. Other files of a workspace are not
// sealed at all, and the facts say so.
package supervisor
