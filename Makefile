# Confman. `make` alone lists the targets.

SEEDS ?= 200
TIME  ?= 60s
FOR   ?= 1h
FUZZTIME ?= 20s
# More for the tests of "test" and "check", such as TESTFLAGS='-run TestWatch'.
TESTFLAGS ?=
BENCH ?= .
WORK  ?= .
ROUNDS ?= 5
GO    ?= go
# The Go vulnerability database as of a day: the same answer for the same commit. VULNDB=latest asks for today's.
VULNDB ?= v0.0.0-20261105234957-e22db6528018

.DEFAULT_GOAL := help
.PHONY: help build dev test race lint fmt generate tidy check deploy-check e2e failpoint-build test-failpoints failpoints jepsen chaos-ci chaos-short chaos-long jepsen-broken e2e-ssh fuzz sim nightly mutants bench bench-build bench-short bench-check benchmarks cover vuln vuln-db clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the programs, into bin/
	$(GO) build -o bin/ ./cmd/...

dev: ## a cluster of three on loopback, in this terminal; Ctrl-C stops it
	@$(GO) build -o bin/ ./cmd/confman
	@bin/confman dev

test: ## unit tests, conversations, fixed seeds, three real processes
	$(GO) test -short $(TESTFLAGS) ./...

race: ## the same under the race detector, but for worlds, which are one thread, and real processes, which are built without it
	$(GO) test -short -race -skip E2E $$($(GO) list ./... | grep -v 'confman/sim$$')

# The second run is of the packages that have other files in the failpoint build.
lint: ## golangci-lint, as .golangci.yml says
	$(GO) tool golangci-lint run ./...
	$(GO) tool golangci-lint run --build-tags failpoints ./faultpoint ./wal ./fsm ./node ./cmd/confman ./jepsen

fmt: ## format the sources
	$(GO) tool golangci-lint fmt ./...

# What is made of httpapi/openapi.yaml is made by the test that checks it.
# protoc comes from the system (Debian: protobuf-compiler); its plugins are tools of go.mod.
generate: ## openapi.json and docs/api.md from openapi.yaml; the code of the wire from wire.proto
	$(GO) test ./httpapi -run TestDocumentIsCurrent -rewrite
	protoc -I . -I "$$($(GO) list -m -f '{{.Dir}}' go.etcd.io/raft/v3)" \
	  --plugin=protoc-gen-go="$$($(GO) tool -n protoc-gen-go)" \
	  --plugin=protoc-gen-go-grpc="$$($(GO) tool -n protoc-gen-go-grpc)" \
	  --go_out=. --go_opt=module=github.com/confman/confman \
	  --go-grpc_out=. --go-grpc_opt=module=github.com/confman/confman \
	  transport/grpctransport/wire/wire.proto

tidy: ## go.mod and go.sum as the sources need them
	$(GO) mod tidy

check: lint ## all that CI asks of the sources: build, vet, lint, format, tidy, tests
	$(GO) build ./...
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) tool golangci-lint fmt --diff ./...
	$(GO) test -short $(TESTFLAGS) ./...

deploy-check: ## what is in deploy, judged by Debian's promtool, HAProxy and systemd
	deploy/tools.sh
	deploy/check.sh

e2e: ## real processes: crashes, bad input, a full disk; the real tree if ../shared/data has it
	$(GO) test -count=1 -timeout 15m -run 'E2E' ./cmd/confman

# A cache of their own, so that builds do not mix.
FAILPOINTS = -tags failpoints -toolexec "$$($(GO) tool -n failpoint-toolexec)"

failpoint-build: ## bin/confman-failpoints, which can be told to crash, and what time it is
	GOCACHE="$$($(GO) env GOCACHE)-failpoint" $(GO) build $(FAILPOINTS) -o bin/confman-failpoints ./cmd/confman

test-failpoints: failpoint-build ## crashes and errors at every failpoint, partitions, clocks
	GOCACHE="$$($(GO) env GOCACHE)-failpoint" CONFMAN_FAILPOINT_PROGRAM="$(CURDIR)/bin/confman-failpoints" \
	  $(GO) test -count=1 -timeout 10m $(FAILPOINTS) -run "^TestFailpoint" ./faultpoint ./fsm ./node ./cmd/confman ./jepsen

failpoints: test-failpoints ## the same

jepsen: build ## one run of real processes under faults; docs/chaos.md has all that there is
	bin/jepsen local --workload register,bank,watch --nemesis mixed --clients 2 --pace 15ms --time 30s

# What cannot be made on this machine (exit code 3) is said, and is no failure.
CHAOS_CI = leader-stopped old-leader-isolated kill-majority power-loss-all partition-one-way retry-elsewhere forwarded-twice \
	leader-removed disk-lost watch-across-leaders restore-beside-old single-node-power
CHAOS_FROM = "$$(git rev-parse HEAD 2>/dev/null || echo 1) $$(date +%F)"
made = || { code=$$?; [ $$code -eq 3 ] && echo 'what could be made here is as it should be'; }

chaos-ci: build ## three minutes of chaos: some scenarios, some cells of workload x nemesis
	bin/jepsen scenario $(CHAOS_CI) --for 110s $(made)
	bin/jepsen matrix --together --subset 6 --time 6s --from $(CHAOS_FROM) $(made)

chaos-short: build failpoint-build ## ten minutes of chaos, other cells every day
	bin/jepsen scenario $(CHAOS_CI) partition-ring partition-flapping kill-all power-loss-in-partition answer-lost learner-promoted \
	  flip-log-then-lead flip-database-then-lead sync-error read-only wall-clock minority-fails-fast cold-start --for 5m $(made)
	bin/jepsen matrix --together --for 6m --time 10s --from $(CHAOS_FROM) $(made)

chaos-long: build failpoint-build ## all scenarios, then cells for FOR, with seeds that nobody has seen
	bin/jepsen scenario --all --from "$$(date +%s)" $(made)
	bin/jepsen matrix --for $(FOR) --endless --time 20s --from "$$(date +%s)" $(made)

e2e-ssh: ## chaos over SSH, against Debian's sshd in namespaces of this machine
	jepsen/tools.sh
	$(GO) test -count=1 -timeout 15m -v -run '^TestE2ESSH$$' ./jepsen

jepsen-broken: ## builds with known bugs: each must be caught by the judges of real runs; writes docs/broken.md
	$(GO) run ./cmd/jepsen broken --page docs/broken.md

fuzz: ## every fuzz target for FUZZTIME
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

# Built, not "go run": only so does the program know its commit, which failures in files name.
sim: ## SEEDS simulated worlds of TIME each, others with every commit
	$(GO) build -o bin/ ./cmd/sim
	bin/sim sweep --seeds $(SEEDS) --time $(TIME) --from "$$(git rev-parse HEAD || echo 1)"

nightly: ## simulated worlds for FOR, others every day; fails if a fault, a mark or a state was never reached
	$(GO) build -o bin/ ./cmd/sim
	bin/sim sweep --nightly --regressions testdata/seeds/regressions.json --seeds 1000 --for $(FOR) --time $(TIME) \
	  --from "$$(git rev-parse HEAD || echo 1) $$(date +%F)" --keep-going --save sim-failures --json bin/nightly.json

mutants: ## plant each bug of sim/mutants and demand that a simulated world catches it; the table goes to docs/mutants.md
	$(GO) run ./cmd/mutants --time $(TIME) --out docs/mutants.md

# With the release that go.mod names, which is what releases are built with, whatever this machine has.
vuln: vuln-db ## known vulnerabilities in what the programs call
	GOTOOLCHAIN=$$(sed -n 's/^toolchain //p' go.mod) $(GO) tool govulncheck -db "file://$(CURDIR)/bin/vulndb" ./...

vuln-db: # what vuln needs from elsewhere
	GOTOOLCHAIN=$$(sed -n 's/^toolchain //p' go.mod) $(GO) version
	$(GO) run golang.org/x/vulndb/cmd/indexdb@$(VULNDB) -out bin/vulndb \
	  -vulns "$$($(GO) mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/data/osv"

# A module of its own, so that Confman does not depend on what it is compared with.
bench-build:
	$(GO) build -o bin/ ./cmd/confman
	cd bench && $(GO) build -o ../bin/etcd go.etcd.io/etcd/server/v3 && $(GO) build -o ../bin/bench .

bench: bench-build ## Confman and etcd in turns on this machine: the table of BENCHMARKS.md; WORK and ROUNDS say what of it
	bin/bench -rounds $(ROUNDS) -work '$(WORK)' -out bin/bench-results

bench-short: bench-build ## the same in a minute: a test of the program, which judges no time
	bin/bench -short

bench-check: ## build, vet, lint, format, tidy, tests of bench
	cd bench && $(GO) build ./... && $(GO) vet ./... && $(GO) mod tidy -diff
	lint="$$($(GO) tool -n golangci-lint)" && cd bench && "$$lint" run -c ../.golangci.yml ./... && "$$lint" fmt -c ../.golangci.yml --diff ./...
	cd bench && $(GO) test -short ./...

benchmarks: ## the benchmarks of cmd/confman, on real processes
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 30m ./cmd/confman

cover: ## coverage of the unit tests, as a page
	$(GO) test -short -coverprofile cover.out ./...
	$(GO) tool cover -html cover.out

clean: ## what the targets above left behind
	rm -rf bin cover.out confman-dev sim-failures jepsen-runs
