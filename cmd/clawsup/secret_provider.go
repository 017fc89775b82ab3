// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

// agentSocket is where an agent finds its call.sock.
const agentSocket = "/run/clawsup/call.sock"

// OpenClaw's protocol of exec providers of secrets, version 1
// (https://docs.openclaw.ai/gateway/secrets).
type (
	providerRequest struct {
		ProtocolVersion int      `json:"protocolVersion"`
		Provider        string   `json:"provider"`
		IDs             []string `json:"ids"`
	}
	providerAnswer struct {
		ProtocolVersion int                      `json:"protocolVersion"`
		Values          map[string]string        `json:"values"`
		Errors          map[string]providerError `json:"errors"`
	}
	providerError struct {
		Message string `json:"message"`
	}
)

// Bounds of a request. OpenClaw gives up after five seconds.
const (
	providerVersion = 1
	providerText    = 64 << 10 // bytes
	providerTime    = 4 * time.Second
)

// The protocol's own rules for names.
var (
	providerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
	providerID   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}$`)
)

// readProviderRequest reads a whole request. It is strict: an agent's mistake
// should be seen, and not half answered.
func readProviderRequest(in io.Reader) (r providerRequest, err error) {
	text, err := io.ReadAll(io.LimitReader(in, providerText+1))
	if err != nil {
		return r, err
	}
	if len(text) > providerText {
		return r, fmt.Errorf("the request has more than %d bytes", providerText)
	}
	if err := packet.Decode(text, &r); err != nil {
		return r, fmt.Errorf("the request is not of the protocol: %w", err)
	}
	switch {
	case r.ProtocolVersion != providerVersion:
		return r, fmt.Errorf("protocolVersion is %d, this speaks %d", r.ProtocolVersion, providerVersion)
	case !providerName.MatchString(r.Provider):
		return r, errors.New("provider is no name")
	case len(r.IDs) == 0 || len(r.IDs) > api.MaxSecretNames:
		return r, fmt.Errorf("want 1 to %d ids", api.MaxSecretNames)
	}
	seen := map[string]bool{}
	for _, id := range r.IDs {
		if !providerID.MatchString(id) || seen[id] {
			return r, errors.New("an id is none, or there twice")
		}
		seen[id] = true
	}
	return r, nil
}

func (p *program) secretProvide(f *secretFlags, _ []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), providerTime)
	defer cancel()
	type read struct {
		r   providerRequest
		err error
	}
	request := make(chan read, 1)
	go func() {
		r, err := readProviderRequest(p.stdin)
		request <- read{r, err}
	}()
	var got read
	select {
	case got = <-request:
	case <-ctx.Done():
		return errors.New("the request did not end in time")
	}
	if got.err != nil {
		return got.err
	}
	answer := providerAnswer{ProtocolVersion: providerVersion, Values: map[string]string{}, Errors: map[string]providerError{}}
	var names []string
	for _, id := range got.r.IDs {
		if secrets.CheckName(id) != nil {
			answer.Errors[id] = providerError{"no name of a secret"}
			continue
		}
		names = append(names, id)
	}
	if len(names) > 0 {
		has, err := placeholders(ctx, f.socket, names)
		if err != nil {
			return err
		}
		for _, name := range names {
			if placeholder, ok := has[name]; ok {
				answer.Values[name] = placeholder
			} else {
				answer.Errors[name] = providerError{"this box has no secret of that name; root adds it to [secrets] of the agent's profile"}
			}
		}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", text)
	return err
}

// placeholders asks the daemon for those of the box that this runs in.
func placeholders(ctx context.Context, socket string, names []string) (map[string]string, error) {
	client, err := api.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var has api.Placeholders
	err = client.Call(ctx, api.SecretPlaceholders, api.SecretNames{Names: names}, &has)
	return has.Placeholders, err
}
