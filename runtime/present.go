// SPDX-License-Identifier: Apache-2.0

package runtime

import "github.com/clawsup/clawsup/runtime/cgroup"

// Present is what the box uses at this moment.
func (v *Service) Present() (cgroup.Present, error) {
	p, err := v.leaf.Present()
	if err != nil {
		return p, failed(StepCgroup, err)
	}
	return p, nil
}
