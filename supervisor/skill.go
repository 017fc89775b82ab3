// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"fmt"

	"github.com/clawsup/clawsup/skills"
)

// Skill gives a skill as a call of it would find it now: a sealed copy, and what
// its manifest says.
func (s *Supervisor) Skill(ctx context.Context, ref string) (*skills.Skill, skills.Manifest, error) {
	k, err := s.seal(ref)
	if err != nil {
		return nil, skills.Manifest{}, err
	}
	m, err := s.inspect(ctx, k)
	if err != nil {
		return nil, skills.Manifest{}, fmt.Errorf("skill %s: %w", k.Name, err)
	}
	return k, m, nil
}
