// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// noisyAbove is how many times the lower quartile of all unit blocks a round's
// worse unit block may be before the round counts as noisy.
const noisyAbove = 1.5

// block is some calls of one contestant in a row.
type block struct {
	samples []sample
	server  time.Duration // CPU time of the server that was asked
	kernel  time.Duration // of the kernel's threads meanwhile
}

// median is the block's median wall time.
func (b block) median() time.Duration {
	walls := make([]time.Duration, len(b.samples))
	for i, s := range b.samples {
		walls[i] = s.wall
	}
	return quantile(walls, 0.5)
}

// round is a block of each contestant, with one of the unit on either side.
type round struct {
	blocks map[string]block // the unit's is both of its blocks together
	worse  time.Duration    // median of the slower unit block
}

// measure runs rounds until as many are quiet as size wants, and returns those
// that count and how many of them are noisy all the same.
func measure(ctx context.Context, s *spawner, list []contestant, size length) ([]round, int, error) {
	began := time.Now()
	var rounds []round
	for len(rounds) < 2*size.rounds && time.Since(began) < size.most {
		r, err := runRound(ctx, s, list, size, len(rounds))
		if err != nil {
			return nil, 0, err
		}
		rounds = append(rounds, r)
		if len(rounds)%10 == 0 {
			fmt.Fprintf(os.Stderr, "bench: %d rounds, %d of %d quiet, %v\n", len(rounds), len(rounds)-noisyOf(rounds), size.rounds, time.Since(began).Round(time.Second))
		}
		if len(rounds)-noisyOf(rounds) >= size.rounds {
			break
		}
	}
	kept, noisy := quietest(rounds, size.rounds)
	return kept, noisy, nil
}

func runRound(ctx context.Context, s *spawner, list []contestant, size length, n int) (round, error) {
	r := round{blocks: make(map[string]block)}
	// The order turns with every round, so that nobody always follows the same one.
	others := len(list) - 1
	order := []int{0}
	for i := range others {
		order = append(order, 1+(i+n)%others)
	}
	order = append(order, 0)
	for _, i := range order {
		b, err := runBlock(ctx, s, &list[i], size)
		if err != nil {
			return round{}, err
		}
		if i == 0 {
			r.worse = max(r.worse, b.median())
		}
		had := r.blocks[list[i].name]
		r.blocks[list[i].name] = block{append(had.samples, b.samples...), had.server + b.server, had.kernel + b.kernel}
	}
	return r, nil
}

func runBlock(ctx context.Context, s *spawner, c *contestant, size length) (block, error) {
	var b block
	kernel, server := readKernelTime(), c.server.read()
	for n := range size.block + 1 {
		select {
		case <-ctx.Done():
			return block{}, context.Cause(ctx)
		case <-time.After(size.rest):
		}
		// The last rest is for what a server does once it has answered.
		if n == size.block {
			break
		}
		got, err := c.call(s)
		if err != nil {
			return block{}, err
		}
		b.samples = append(b.samples, got)
	}
	b.kernel, b.server = readKernelTime().since(kernel), c.server.read()-server
	return b, nil
}

// threshold is the unit time above which a round is noisy.
func threshold(rounds []round) time.Duration {
	units := make([]time.Duration, len(rounds))
	for i, r := range rounds {
		units[i] = r.worse
	}
	return time.Duration(noisyAbove * float64(quantile(units, 0.25)))
}

// noisyOf counts the noisy ones.
func noisyOf(rounds []round) int {
	n, limit := 0, threshold(rounds)
	for _, r := range rounds {
		if r.worse > limit {
			n++
		}
	}
	return n
}

// quietest picks n rounds by the unit alone, and counts the noisy among them.
func quietest(rounds []round, n int) ([]round, int) {
	limit := threshold(rounds)
	sorted := slices.Clone(rounds)
	slices.SortStableFunc(sorted, func(a, b round) int { return int(a.worse - b.worse) })
	sorted = sorted[:min(n, len(sorted))]
	noisy := 0
	for _, r := range sorted {
		if r.worse > limit {
			noisy++
		}
	}
	return sorted, noisy
}

// quantile gives the q-quantile of values, 0 to 1, by linear interpolation
// between neighbours. It is zero when there are none.
func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low == len(sorted)-1 {
		return sorted[low]
	}
	return sorted[low] + T((at-float64(low))*float64(sorted[low+1]-sorted[low]))
}
