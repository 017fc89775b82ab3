// SPDX-License-Identifier: Apache-2.0

// Package supervisor turns a request into a plan, decides about it, and has
// package runtime carry it out.
//
// The order is always the same:
//
//	config, err := supervisor.LoadConfig(path)     // root-owned TOML, strict
//	s, err := supervisor.Open(ctx, config)         // root: probe, sweep, stores
//	plan, err := s.Plan(ctx, request)              // to the exact bytes and limits; Close it
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
// # What was asked about is what runs
//
// Where a person decides (effects.exec = "ask"), a command's name is looked up
// once, when the plan is made, and an executable that others than root can
// change or exchange is copied then: the question shows the copy's sha256, and
// the copy is what the box has. A script's interpreter must be root's alone. A
// script that is an argument of its interpreter is copied just so, and stands
// in /script, not beside its like. Of other files that arguments name the
// sha256 is shown, and they are compared right before the box gets its call.
//
// # Limits
//
// Files of a workspace are not sealed otherwise: not what a program loads, not
// what it is told of within an option or a script's text, and a file that is
// compared at the start can change after it; the facts say so. A command that nobody was asked about is told by path, device, inode, size and
// change time, which are compared right before the box gets its call, and not
// by the descriptor that is executed.
package supervisor
