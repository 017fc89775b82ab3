# SPDX-License-Identifier: Apache-2.0
#
# On a Debian machine, as root, from a bare clone, two commands do everything:
#
#	make demo	install what is needed, build, have an agent ask
#	make test	the same, then every test
#
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PREFIX  ?= /usr/local
DESTDIR ?=

# A tree without git, or a clone without tags, still builds and says so.
git := git -c safe.directory='$(CURDIR)'
VERSION ?= $(shell $(git) describe --tags --dirty 2>/dev/null || { hash=$$($(git) describe --always --dirty 2>/dev/null) && echo "devel-$$hash"; } || echo devel)

# Go's own tarball puts itself where a login shell's PATH ends, root's doesn't.
export PATH := $(PATH):/usr/local/go/bin
export GOTOOLCHAIN ?= auto
# The stamp is VERSION; Go's own would fail in a clone that belongs to another user.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

DEPS_BUILD := gcc libc6-dev libseccomp-dev pkg-config git ca-certificates
# The second half are what tests run in the box, to see that real work gets done there.
DEPS_TEST  := $(DEPS_BUILD) e2fsprogs=mke2fs xfsprogs=mkfs.xfs btrfs-progs=mkfs.btrfs jq shellcheck strace tmux bubblewrap util-linux procps iproute2 file \
	python3 nodejs=node pandoc g++ binutils make perl xz-utils bzip2 gdb man-db cargo=cargo default-jdk-headless=javac \
	curl wget openssl python3-requests python3-pip npm=npm bind9-dnsutils=dig nftables=nft
# what the demo and its skills use
DEPS_DEMO  := e2fsprogs=mke2fs python3 util-linux procps
DEPS_BENCH := $(DEPS_BUILD) e2fsprogs=mke2fs bubblewrap runc crun firejail util-linux python3 nodejs=node \
	socat haproxy mitmproxy=mitmdump

# Pinned; fetched and checked as modules, never installed.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0

FUZZTIME ?= 20s
SOAK     ?= 10m
# What `make test` tests, and more flags for `go test`.
PACKAGES  ?= ./...
TESTFLAGS ?=

STRIP  := -trimpath -ldflags '-s -w'
STAMP  := -trimpath -ldflags '-s -w -X github.com/clawsup/clawsup/supervisor/version.stamp=$(VERSION)'

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

.PHONY: deps
deps: ## install what building needs (apt, root); nothing when it is there
	@packaging/deps --go $(DEPS_BUILD)

# the ones that take orders, and those that nobody starts by hand
OPERATED := $(patsubst cmd/%,bin/%,$(wildcard cmd/clawsup cmd/clawsupd))
STARTED  := $(patsubst cmd/%,bin/%,$(wildcard cmd/clawsup-init cmd/clawsup-inspect cmd/clawsup-egress))

.PHONY: build
build: deps ## build clawsup and its programs into bin/
	@mkdir -p bin
	CGO_ENABLED=1 go build $(STAMP) -o bin/ $(OPERATED:bin/%=./cmd/%)
	CGO_ENABLED=0 go build $(STRIP) -o bin/ $(STARTED:bin/%=./cmd/%)
	cmd/clawsup-template/build bin/clawsup-template

# Where units are looked for, below /usr and /usr/local (systemd.unit(5)).
UNITS := $(notdir $(wildcard packaging/systemd/*))

.PHONY: install
install: build ## install below $(DESTDIR)$(PREFIX), with units; enables nothing
	install -D -m 0755 -t '$(DESTDIR)$(PREFIX)/bin' bin/clawsup
	install -D -m 0755 -t '$(DESTDIR)$(PREFIX)/lib/clawsup' $(filter-out bin/clawsup,$(OPERATED)) $(STARTED) bin/clawsup-template
	rm -rf '$(DESTDIR)$(PREFIX)/share/clawsup/skills'
	install -d -m 0755 '$(DESTDIR)$(PREFIX)/share/clawsup/skills'
	cp -R --preserve=mode skills/examples/*/ '$(DESTDIR)$(PREFIX)/share/clawsup/skills'
	install -D -m 0644 -t '$(DESTDIR)$(PREFIX)/share/clawsup' packaging/clawsup.toml
	bin/clawsup profile schema >'$(DESTDIR)$(PREFIX)/share/clawsup/profile.schema.json'
	install -D -m 0644 -t '$(DESTDIR)$(PREFIX)/lib/systemd/system' $(UNITS:%=packaging/systemd/%)
	sed -i 's,/usr/local/,$(PREFIX)/,g' $(UNITS:%='$(DESTDIR)$(PREFIX)/lib/systemd/system/%')
	install -D -m 0644 -t '$(DESTDIR)$(PREFIX)/lib/sysusers.d' packaging/sysusers.d/clawsup.conf
	install -D -m 0644 -t '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d' packaging/tmpfiles.d/clawsup.conf

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f '$(DESTDIR)$(PREFIX)/bin/clawsup' '$(DESTDIR)$(PREFIX)'/lib/{sysusers,tmpfiles}.d/clawsup.conf
	rm -f $(UNITS:%='$(DESTDIR)$(PREFIX)/lib/systemd/system/%')
	rm -rf '$(DESTDIR)$(PREFIX)/lib/clawsup' '$(DESTDIR)$(PREFIX)/share/clawsup'

.PHONY: demo
demo: build ## an agent asks, you answer; then it is hostile, and so are skills
	@packaging/deps $(DEPS_DEMO)
	@packaging/demo

.PHONY: test
test: ## run everything: quick checks, then all tests under the race detector
	@packaging/deps --go $(DEPS_TEST)
	@$(MAKE) build
	@status=0; \
	$(MAKE) lint-quick || status=1; \
	packaging/gotest -race -count=1 -p 2 -timeout 20m $(TESTFLAGS) $(PACKAGES) || status=1; \
	exit $$status

.PHONY: lint-quick
lint-quick: # what of lint takes seconds
	@echo "gofmt"; files=$$(gofmt -l .); [[ -z $$files ]] || { echo "not as gofmt would have it:" $$files >&2; exit 1; }
	@echo "go vet"; go vet ./...
	@echo "shellcheck"; shellcheck -x -S warning -e SC1007 $$(grep -rlIE --exclude-dir=.git --exclude-dir=bin --exclude-dir=out --exclude-dir=testdata '^#!.*[/ ](ba)?sh( |$$)' . | sort)

.PHONY: lint
lint: ## all static checks: gofmt, vet, shellcheck, staticcheck, govulncheck
	@packaging/deps --go $(DEPS_BUILD) shellcheck
	@$(MAKE) lint-quick
	@echo "staticcheck"; go run $(STATICCHECK) ./...
	@echo "govulncheck"; GOBIN='$(CURDIR)/out' go install $(GOVULNCHECK)
	@packaging/vulncheck out/govulncheck ./...

# A rival that is a Go module. Where it can't be fetched, or isn't what the
# checksum database says, bench names it as absent, with the reason.
GO_JUDGE := github.com/criyle/go-judge/cmd/go-judge@v1.11.3

.PHONY: bench-build
bench-build: # the harness, and what it measures
	@packaging/deps --go $(DEPS_BENCH)
	@$(MAKE) build
	@mkdir -p out
	@go build -o out/bench ./cmd/bench
	@[[ -x out/go-judge ]] || GOBIN='$(CURDIR)/out' go install $(GO_JUDGE) 2>out/go-judge.log || true

.PHONY: bench
bench: bench-build ## measure everything, beside bwrap, runc, crun, firejail, unshare, go-judge, socat, haproxy and mitmproxy; writes out/bench.json
	out/bench -json out/bench.json
	go test -run '^$$' -bench . -benchtime 200x ./runtime ./runtime/seccomp ./supervisor/api ./supervisor/approval
	go test -run '^$$' -bench . -benchtime 20x ./supervisor/broker
	go test -run '^$$' -bench . ./supervisor/audit

.PHONY: bench-quick
bench-quick: bench-build ## latency, throughput, change sets and the way out in some two minutes; fails when a promised ratio is broken
	out/bench -quick -json out/bench.json

.PHONY: bench-steady
bench-steady: bench-build ## what the daemon holds after 100,000 calls
	out/bench -parts steady -steady 100000 -json out/bench-steady.json

.PHONY: bench-growth
bench-growth: bench-build ## a log of 10 million receipts: 7 GB below /var/tmp, half an hour
	out/bench -parts receipts -growth 10000000 -json out/bench-growth.json

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@packaging/deps --go $(DEPS_BUILD)
	@grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' . | sed 's,/[^/]*:[0-9]*:func , ,' | sort | \
	while read -r package target; do \
		echo "$$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' "$$package" </dev/null; \
	done

.PHONY: soak
soak: ## kill the daemon at random points for SOAK (10m), and look what it lost
	@packaging/deps --go $(DEPS_BUILD)
	CLAWSUP_SOAK='$(SOAK)' go test -count=1 -run TestKilledAtAnyPoint -v -timeout 40m ./cmd/clawsupd

.PHONY: vm-test
vm-test: ## run the tests in a Debian guest with systemd and cgroup v2; KERNEL=trixie (or bookworm, ...)
	@packaging/deps --go $(DEPS_BUILD)
	packaging/vm/test $(KERNEL)

.PHONY: clean
clean: ## remove bin and out
	rm -rf bin out
