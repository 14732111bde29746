# A thin front: the work is in CMakePresets.json and in tools/.
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 30
ARGS ?=
export JOBS FUZZ_SECONDS

.DEFAULT_GOAL := build
.PHONY: build run test test-newest bench smoke smoke-faults fuzz lint format image up deb clean deps help

build: ## the programs, in build/release/bin
	@tools/install-deps.sh build
	@tools/build.sh release programs

run: build ## build, then run the agent; ARGS="..." are its arguments
	@exec build/release/bin/log_capturer run $(ARGS)

test: ## unit tests under the sanitizers, integration tests against dockerd
	@tools/install-deps.sh build test
	@tools/run-tests.sh

test-newest: ## the integration tests against dockerd 29
	@tools/install-deps.sh build test
	@tools/build.sh release
	@tools/with-dockerd-newest.sh ctest --test-dir build/release -L '^(integration|newest)$$' --output-on-failure

bench: ## the measurements of tests/bench
	@tools/install-deps.sh build test bench
	@tools/build.sh release
	@BIN=$(CURDIR)/build/release/bin SOURCE_DIR=$(CURDIR) tools/with-dockerd.sh tests/bench/run.sh

smoke: ## half an hour against the agent in its container: does it leak or lose? DURATION=3m shortens it
	@tools/install-deps.sh build test
	@tools/build.sh release
	@tools/with-dockerd.sh bash -c '[ "$${AGENT:-image}" != image ] || tools/compose.sh build || exit; exec tests/load/smoke_test_simple.sh'

smoke-faults: ## the smoke test fails on planted faults; 6 minutes
	@tools/install-deps.sh build test
	@tools/build.sh release
	@tools/with-dockerd.sh tests/load/test_smoke_can_fail.sh

fuzz: ## each fuzz target for FUZZ_SECONDS
	@tools/install-deps.sh build fuzz
	@tools/build.sh fuzz
	@tools/fuzz.sh

lint: ## form, rooms, warnings of two compilers, analyzers
	@tools/install-deps.sh build test lint fuzz
	@tools/lint.sh

format: ## rewrite the C files in the project's form
	@tools/install-deps.sh lint
	@tools/format.sh

image: ## the container image log_capturer
	@tools/compose.sh build

up: ## the image, then the agent in its container (docker compose up -d --build)
	@tools/compose.sh up -d --build

deb: ## a Debian package, in build/deb
	@tools/install-deps.sh build
	@tools/build.sh release programs
	@tools/deb.sh

clean: ## remove build/
	rm -rf build

deps: ## install what building, testing and linting need (Debian, Ubuntu; as root)
	@tools/install-deps.sh build test lint fuzz

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
