// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Lockdown is a state in which nobody is asked and nothing counts. It outlives
// the process.
type Lockdown struct {
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

func (l *Lockdown) text() string {
	text := "lockdown since " + l.At.Format(time.RFC3339)
	if l.Reason != "" {
		text += ": " + visible.Line(l.Reason)
	}
	return text
}

func (b *Book) lockdownPath() string { return filepath.Join(b.dir, lockdownFile) }

// loadLockdown reads whether there is one. A file that can't be understood is
// one: somebody wrote it.
func (b *Book) loadLockdown() {
	l := &Lockdown{}
	switch err := record.Read(b.lockdownPath(), l); {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		b.notes = append(b.notes, fmt.Sprintf("there is a lockdown, of which nothing more can be told: %v", err))
		l = &Lockdown{Reason: "its record can't be read", At: b.now()}
	}
	b.lockdown = l
}

// Lock begins a lockdown: every pending ticket is void, every grant is over,
// and nothing new is taken, from this moment on and also with an error, which
// says that a restart would not know of it. One file that is written says all
// of that; the tickets' own files follow. A second Lock changes nothing.
func (b *Book) Lock(reason string) (Voided, error) {
	b.mu.Lock()
	if b.lockdown != nil {
		b.again = true
		b.mu.Unlock()
		return Voided{}, nil
	}
	l := &Lockdown{Reason: reason, At: b.now()}
	b.lockdown = l
	v, _ := b.voided(func(e *entry) *stored {
		return e.rec.closed(Void, l.text(), l.At)
	}, func(*policy.Grant) string { return l.text() })
	b.mu.Unlock()
	b.lockFile.Lock()
	defer b.lockFile.Unlock()
	return v, b.writeLockdown()
}

// writeLockdown writes the lockdown that there is. b.lockFile is held.
func (b *Book) writeLockdown() error {
	l := b.Locked()
	if l == nil {
		return nil // ended in between
	}
	if err := record.Write(b.lockdownPath(), l); err != nil {
		return fmt.Errorf("there is a lockdown, and a restart would end it: %w", err)
	}
	return nil
}

// Unlock ends a lockdown, once all that it ended is written down as over. What
// it ended stays so. A Lock in the meantime goes before it.
func (b *Book) Unlock() error {
	b.write.Lock()
	defer b.write.Unlock()
	b.lockFile.Lock()
	defer b.lockFile.Unlock()
	b.mu.Lock()
	closed := b.closed
	b.again = false
	b.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if err := b.rewrite(); err != nil {
		return fmt.Errorf("the lockdown goes on: %w", err)
	}
	if err := record.Remove(b.lockdownPath()); err != nil {
		return fmt.Errorf("the lockdown goes on: %w", err)
	}
	b.mu.Lock()
	again := b.again
	if !again {
		b.lockdown = nil
	}
	b.mu.Unlock()
	if again {
		return errors.Join(errors.New("the lockdown goes on: it was ordered again"), b.writeLockdown())
	}
	return nil
}

// Locked gives the lockdown that there is, or nil.
func (b *Book) Locked() *Lockdown {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lockdown == nil {
		return nil
	}
	l := *b.lockdown
	return &l
}
