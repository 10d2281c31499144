# Everything a person types. `make` alone lists the targets.
PYTHON ?= python3
PORT ?= 8080
WORKERS ?= 1
# `.venv` has the version it was made with; another one, asked for with PYTHON=..., gets `.venv-3.13` beside it.
ifneq ($(origin PYTHON),file)
WANTED := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
$(if $(WANTED),,$(error PYTHON=$(PYTHON) is no Python that runs))
THERE := $(shell .venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
endif
VENV ?= $(if $(filter-out $(WANTED),$(THERE)),.venv-$(WANTED),.venv)
BIN := $(VENV)/bin
# The locks are whole, so pip need not look for what packages need. Compiling is left to all cores, after pip: it must be
# done, as a service may not be able to write here, and nothing is kept where PYTHONDONTWRITEBYTECODE is set.
PIP = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
TESTS ?= tests
IMAGE ?= sdnext-gateway
SEED ?= 7

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run check check-deploy image test test-fast test-hostile chaos bench bench-placement live-vs-simulated frozen-store format lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 24

$(VENV)/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV), with its own Python and pip ..."; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -c 'import sys; print("$(VENV) has Python %d.%d.%d" % sys.version_info[:3])'
	@echo "Installing the packages of requirements.lock into $(VENV); about half a minute the first time ..."
	@$(PIP) --no-deps --no-compile --require-hashes -r requirements.lock
	@echo "Installing the gateway command ..."
	@$(PIP) --quiet --no-deps --no-build-isolation -e .
	@echo "Compiling them ..."
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib gateway >/dev/null || true
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Installing the packages of requirements-dev.lock ..."
	@$(PIP) --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.runtime  ## create .venv from the hash-pinned lock and put the gateway command there: PYTHON=python3.13
setup-dev: $(VENV)/.dev  ## the same with what check and test need

run: $(VENV)/.runtime  ## a working gateway with two simulated GPUs: PORT=8080 WORKERS=1
	@echo "Starting the gateway and two simulated servers; their address and a line to try come in a few seconds ..."
	@exec $(BIN)/gateway demo --port $(PORT) --workers $(WORKERS)

check: setup-dev  ## style, types, architecture, house rules and regular expressions of linear time
	$(BIN)/ruff check gateway tests bench
	$(BIN)/ruff format --check gateway tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house_rules.py tests/test_patterns.py

test: setup-dev  ## every test, against a real Valkey process
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup --durations=20 $(TESTS)

test-fast: setup-dev  ## what starts no process (about two and a half minutes)
	$(BIN)/python -m pytest -q -n 2 --fast $(addprefix --ignore=tests/,chaos cli clients deploy e2e launcher speed) $(TESTS)

test-hostile: setup-dev  ## ten thousand hostile bodies, calls of all routes, pictures; raw HTTP directly and behind proxies; backends' answers (about ten minutes): SEED=7
	$(BIN)/python -m pytest -q -rs tests/e2e/test_hostile_bodies.py tests/e2e/test_hostile_routes.py tests/e2e/test_hostile_framing.py tests/e2e/test_hostile_pictures.py tests/e2e/test_memory.py tests/adapters/test_sdnext.py --bodies 10000 --pictures 10000 --bodies-seed $(SEED) --all-framings -o faulthandler_timeout=3600

bench-placement: setup  ## the scheduler on simulated pools: the tables of docs/benchmarks.md
	$(BIN)/python -m bench.placement

live-vs-simulated: setup-dev  ## 300 jobs through real processes and through gateway simulate, five times (about eight minutes)
	$(BIN)/python -m bench.live

frozen-store: setup-dev  ## 500 calls a second while the store is frozen: how soon each is answered (half a minute)
	$(BIN)/python -m bench.frozen

check-deploy: setup-dev  ## rules, board, compose, unit and image, with the tools that are there (promtool, haproxy, ...)
	$(BIN)/python -m pytest -q tests/deploy
	@if docker compose version >/dev/null 2>&1; then for profile in demo sdnext; do docker compose -f docker/compose.yml --profile $$profile config --quiet || exit 1; done; else echo "skipped: compose.yml (no docker compose)"; fi
	@if command -v hadolint >/dev/null; then hadolint docker/Dockerfile; else echo "skipped: Dockerfile (no hadolint)"; fi
	@if command -v systemd-analyze >/dev/null; then systemd-analyze security --offline=true --threshold=20 deploy/systemd/*.service | tail -1; else echo "skipped: the unit (no systemd-analyze)"; fi

image:  ## build the image with docker, podman or buildah: IMAGE=sdnext-gateway BUILD_ARGS="--build-arg BASE=..."
	@engine=; if docker info >/dev/null 2>&1; then engine=docker; else for one in podman buildah; do command -v $$one >/dev/null && { engine=$$one; break; }; done; fi; \
	test -n "$$engine" || { echo "make image needs a running docker, or podman, or buildah"; exit 1; }; \
	format=; test $$engine = docker || format="--format docker"; \
	$$engine build $$format $(BUILD_ARGS) -f docker/Dockerfile -t $(IMAGE) .

chaos: setup-dev  ## ten thousand jobs under random kills of everything (about fifteen minutes): SEED=7
	$(BIN)/python -m pytest -q -s tests/chaos/test_chaos.py --chaos-jobs 10000 --chaos-seed $(SEED) -o faulthandler_timeout=7200

format: setup-dev  ## put the code into its one format
	$(BIN)/ruff check --fix gateway tests bench
	$(BIN)/ruff format gateway tests bench

lock:  ## pin every dependency anew, with hashes (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv, in an environment of its own"; exit 1; }
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" --extra tracing --group pyproject.toml:build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" --group pyproject.toml:build --group pyproject.toml:dev --extra tracing -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:  ## remove what setup, run and test made
	rm -rf .venv .venv-* .run .mypy_cache .ruff_cache .pytest_cache .hypothesis

bench: setup-dev  ## cost of a call beside nginx (and LiteLLM: PEERS=litellm): QUICK=1 RECORD=1 ONLY=speed,memory,growth
	QUICK=$(QUICK) RECORD=$(RECORD) PEERS=$(PEERS) ONLY=$(ONLY) $(BIN)/python -m bench

.PHONY: bench-loading
bench-loading: setup  ## what lists, options and progress take while every backend loads a checkpoint (about 80 s)
	$(BIN)/python -m bench.loading
