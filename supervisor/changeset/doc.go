// SPDX-License-Identifier: Apache-2.0

// Package changeset tells what a call did to its workspace.
//
// A call writes into the upper layer of an overlay (package overlay); the
// workspace beneath is not touched. Walk reads the layer against the workspace
// and gives a Set: each path that was created, modified, deleted, moved or
// given another mode, with what it was and what it became.
package changeset
