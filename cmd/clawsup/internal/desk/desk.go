// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Daemon is a connection to approval.sock. Calls may be made side by side.
type Daemon interface {
	Call(ctx context.Context, method string, params, result any, files ...*os.File) error
	Notifications() <-chan api.Notification // closed when the connection ends
	Close() error
}

// Options are what a desk needs.
type Options struct {
	Dial   func(ctx context.Context) (Daemon, error) // makes a connection, and a new one when that is lost
	Colour bool
	In     *os.File // a terminal
	Out    *os.File // a terminal
}

// Run shows the desk until the person leaves it, or until ctx is done. Its
// error is that of the first connection, or of the terminal.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	daemon, err := o.Dial(ctx)
	if err != nil {
		return err
	}
	m := newModel(ctx, o.Dial, daemon, time.Now)
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out)}
	if !o.Colour {
		options = append(options, tea.WithColorProfile(colorprofile.ASCII))
	}
	last, err := tea.NewProgram(m, options...).Run()
	if m, ok := last.(*model); ok {
		m.hangUp()
	}
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// The messages that the world sends to the model.
type (
	tick       time.Time // each second
	connected  struct{ daemon Daemon }
	lost       struct{ err error }
	ticketTold approval.Ticket
	allTold    struct{} // what was pending is known
	outputTold api.OutputPart
	callsTold  []api.Call
	identified api.Identity
	answered   struct {
		api.Answered
		err     error
		refused []raw.String
	}
	watchEnded struct {
		call api.Call
		err  error
	}
	stopTold struct {
		call string
		err  error
	}
)

// patience is how long the daemon may take for what it does at once.
const patience = 10 * time.Second

// ask calls a method and makes a message of its result.
func ask[R any](ctx context.Context, d Daemon, method string, params any, message func(R, error) tea.Msg) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var result R
		err := d.Call(ctx, method, params, &result)
		return message(result, err)
	}
}

// begin is what a new connection does first.
func (m *model) begin() tea.Cmd {
	ctx, d := m.ctx, m.daemon
	return tea.Batch(
		listen(d),
		func() tea.Msg {
			if err := d.Call(ctx, api.TicketWatch, api.Nothing{}, nil); err != nil {
				return lost{err}
			}
			return lost{errors.New("the daemon ended it")}
		},
		ask(ctx, d, api.WhoAmI, api.Nothing{}, func(i api.Identity, err error) tea.Msg {
			if err != nil {
				return nil // a name is missing, nothing more
			}
			return identified(i)
		}),
		m.lookAtCalls(),
	)
}

// lookAtCalls asks which calls there are.
func (m *model) lookAtCalls() tea.Cmd {
	return ask(m.ctx, m.daemon, api.CallList, api.CallFilter{Live: true}, func(list []api.Call, err error) tea.Msg {
		if err != nil {
			return nil // the connection's end is told by others
		}
		return callsTold(list)
	})
}

// listen waits for the next notification that means something here.
func listen(d Daemon) tea.Cmd {
	return func() tea.Msg {
		for n := range d.Notifications() {
			if msg := read(n); msg != nil {
				return told{d, msg}
			}
		}
		return nil // the watch tells why
	}
}

// told is a notification; the next one is then waited for.
type told struct {
	by  Daemon
	msg tea.Msg
}

func read(n api.Notification) tea.Msg {
	switch n.Method {
	case api.TicketChanged:
		var t approval.Ticket
		if json.Unmarshal(n.Params, &t) == nil {
			return ticketTold(t)
		}
	case api.Output:
		var o api.OutputPart
		if json.Unmarshal(n.Params, &o) == nil {
			return outputTold(o)
		}
	case api.Ready:
		return allTold{}
	}
	return nil
}

// redial tries for a new connection, until there is one.
func (m *model) redial() tea.Cmd {
	ctx, dial := m.ctx, m.dial
	return tea.Tick(time.Second, func(time.Time) tea.Msg {
		d, err := dial(ctx)
		if err != nil {
			return lost{err}
		}
		return connected{d}
	})
}

// second waits for the next one.
func second() tea.Cmd { return tea.Every(time.Second, func(t time.Time) tea.Msg { return tick(t) }) }
