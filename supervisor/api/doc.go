// SPDX-License-Identifier: Apache-2.0

// Package api is the language of the sockets.
package api
