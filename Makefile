# The face of the project: `make` lists what there is.

SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
STAMP := node_modules/.installed
SYSTEM_STAMP := node_modules/.system-packages

.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) $(SYSTEM_STAMP) ## Install what the project needs (npm packages, Node 24 among them, and Debian packages)

$(STAMP): package.json package-lock.json
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "this project is built and tested on Linux x86_64; this is $$(uname -sm)" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	@echo "installing npm packages"
	@# Not npm ci: it wants the optional packages of every platform in the lock file, also where a registry lacks them.
	@npm install --no-save --no-progress --loglevel=error
	@touch $@

$(SYSTEM_STAMP): scripts/system-packages.ts | $(STAMP)
	@node scripts/system-packages.ts
	@touch $@

demo: $(STAMP) $(SYSTEM_STAMP) ## See it work: real nodes and pods, a simulated cloud, a live tour; Ctrl-C ends it
	@exec node demo/demo.ts

demo-once: $(STAMP) $(SYSTEM_STAMP) ## The same without a stop; exits 0, or 1 with what was wrong
	@exec node demo/demo.ts --once

test: $(STAMP) $(SYSTEM_STAMP) ## All checks and tests; KEEP_GOING=1 runs the rest after a failure, too
	@exec node scripts/test.ts $(if $(KEEP_GOING),--keep-going)

check: $(STAMP) ## Types, format, lint, import directions, unused code, generated files
	@npm run -s check

unit: $(STAMP) ## Tests that need no cluster
	@exec node scripts/test.ts --only unit,netns

integration: $(STAMP) $(SYSTEM_STAMP) ## Tests against a real API server
	@exec node scripts/test.ts --only cluster,integration

e2e: $(STAMP) $(SYSTEM_STAMP) ## The control plane on a real cluster with a simulated cloud
	@exec node scripts/test.ts --only e2e

faults: $(STAMP) $(SYSTEM_STAMP) ## Kill it and see that nothing is lost
	@exec node scripts/test.ts --only faults

conformance: $(STAMP) $(SYSTEM_STAMP) ## Kubernetes' own network specs on our nodes, with member ENIs and on shared ones (PODS=members, PODS=shared: one of them); RECORD=1 writes docs/reference/conformance.md
	@exec node test/conformance/run.ts $(if $(RECORD),--record) $(if $(PODS),--pods $(PODS))

pool-acceptance: $(STAMP) $(SYSTEM_STAMP) ## Terway's acceptance scenarios of shared ENIs on real kubelets, with periods 20 times shorter; ONLY=TEXT runs those with TEXT in their name
	@exec node test/acceptance/run.ts $(if $(ONLY),--only '$(ONLY)')

soak: $(STAMP) ## Tests that depend on chance, with fresh seeds for MINUTES (10); PROJECT=faults kills processes, PROJECT=integration asks the API server
	@exec node scripts/soak.ts --minutes $(or $(MINUTES),10) --project $(or $(PROJECT),unit)

world: $(STAMP) ## Random histories of the shipped control plane on virtual time, SEEDS (200) of them; CRASHES=1 crashes at every call; MUTANTS=1 plants mistakes (MUTANT=TEXT: those with TEXT in their name); SEED=n tells one that failed
	@exec node sim/world/seeded/cli.ts $(if $(CRASHES),--crashes) $(if $(MUTANTS),--mutants) $(if $(MUTANT),--mutant '$(MUTANT)') $(if $(SEED),--seed $(SEED),$(if $(SEEDS),--seeds $(SEEDS)) --from $(or $(FROM),1))

world-long: $(STAMP) ## SEEDS (20000) histories, every crash point and every mutant; writes docs/world.json and its page
	@node sim/world/seeded/cli.ts --long $(if $(SEEDS),--seeds $(SEEDS)); code=$$?; node scripts/generate.ts; exit $$code

world-scale: $(STAMP) ## Thousands of nodes and pods on virtual time: what each phase takes and costs, and what grows with their number; RECORD=1 writes docs/reference/world-scale.md
	@exec node sim/world/scale/cli.ts $(if $(RECORD),--record)

bench: $(STAMP) ## Measure everything that has a budget, three times; writes docs/performance.json (about 2.5 hours)
	@node bench/bench.ts --runs 3 --write; code=$$?; node scripts/generate.ts; exit $$code

generate: $(STAMP) ## Write config/crd from src/crds, and what else is derived from schemas
	@npm run -s generate

manifests: $(STAMP) ## Write config/rbac and config/deploy from the chart (builds Helm once)
	@exec node scripts/manifests.ts

format: $(STAMP) ## Format the code
	@npm run -s format

build: $(STAMP) $(SYSTEM_STAMP) ## Bundle the executables into dist/, and compile the native programs
	@npm run -s build

image: build ## Write the container image to dist/, without a container engine
	@exec node scripts/image.ts

release: build ## Image, chart, SBOM, provenance and checksums in dist/release/; SIGNING_KEY=PATH signs them
	@exec node scripts/release.ts

cluster-start: $(STAMP) ## A test cluster of its own, for trying things by hand
	@exec node test/cluster/cli.ts start

cluster-stop: $(STAMP) ## End that cluster
	@exec node test/cluster/cli.ts stop

clean: ## Remove what was built
	rm -rf dist node_modules

.PHONY: help setup demo demo-once test check unit integration e2e faults conformance pool-acceptance soak world world-long world-scale bench generate manifests format build image release cluster-start cluster-stop clean
