// SPDX-License-Identifier: Apache-2.0

package approval

import "errors"

// What can be wrong. An error of this package is, or wraps, one of these, or
// it is of the disk.
var (
	ErrFlood     = errors.New("too many questions in too short a time: nobody was asked, and that is a no")
	ErrFull      = errors.New("too many questions wait for people: nobody was asked, and that is a no")
	ErrLocked    = errors.New("there is a lockdown: nobody is asked, no answer counts, and that is a no")
	ErrClosed    = errors.New("the supervisor is stopping: nobody is asked, and that is a no")
	ErrUnknown   = errors.New("there is no such ticket or grant")
	ErrAmbiguous = errors.New("more than one ticket or grant begins like this")
	ErrConflict  = errors.New("the ticket has changed since you saw it: look at it again")
	ErrOver      = errors.New("the ticket is no longer open")
	ErrRole      = errors.New("you may not answer")
	ErrRequester = errors.New("who asks can't answer")
	ErrTwice     = errors.New("this takes another person")
	ErrWatchers  = errors.New("too many watch already")
	ErrInvalid   = errors.New("this can't be asked or answered")
)
