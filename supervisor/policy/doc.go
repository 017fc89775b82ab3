// SPDX-License-Identifier: Apache-2.0

// Package policy decides. (The manual of this package is to be written here.)
package policy
