// SPDX-License-Identifier: Apache-2.0

// Package approval keeps tickets and grants.
package approval
