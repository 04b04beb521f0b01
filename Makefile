# Everything happens in .venv, so .venv/bin/optim is there after any target. A fresh machine needs Python 3.11, make, git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test chaos big serve backup restore check lock audit peers bench clean
.DEFAULT_GOAL := demo

$(VENV)/.installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=26"
	$(BIN)/python -m pip install --quiet --editable clients/python --editable . --group test --group check
	touch $@

demo: $(VENV)/.installed  ## watch a network learn through the service, killed in the middle of a step
	$(BIN)/optim demo

test: $(VENV)/.installed  ## every test, with a real Redis
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

chaos: $(VENV)/.installed  ## every check of docs/reliability.md, whole, about an hour; ONLY="-k races" for a part
	CHAOS=whole $(BIN)/python -m pytest -s -m requirement $(ONLY)
	$(BIN)/python -m tests.chaos.page

serve: $(VENV)/.installed  ## the service on the embedded store, on http://127.0.0.1:8000
	$(BIN)/optim serve

# STORE=lmdb:PATH, else OPTIM_STORE; or STORE=compose, the Redis of docker-compose.yml, which needs Docker alone.
COPY_NEEDS = $(if $(filter compose,$(STORE)),,$(VENV)/.installed)
COPY = $(if $(filter compose,$(STORE)),sh compose-store.sh $(1) "$(2)",$(BIN)/optim store $(1) "$(2)" $(if $(STORE),--store "$(STORE)"))

backup: $(COPY_NEEDS)  ## all sessions, while the service runs: STORE=lmdb:PATH TO=FOLDER, or STORE=compose TO=FILE
	$(if $(TO),,$(error say where to: make backup STORE=lmdb:PATH TO=FOLDER, or STORE=compose TO=FILE))
	@$(call COPY,backup,$(TO))

restore: $(COPY_NEEDS)  ## what backup made, where no store is: STORE=lmdb:PATH FROM=FOLDER, or STORE=compose FROM=FILE
	$(if $(FROM),,$(error say where from: make restore STORE=lmdb:PATH FROM=FOLDER, or STORE=compose FROM=FILE))
	@$(call COPY,restore,$(FROM))

check: $(VENV)/.installed  ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv-supply/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-supply/bin/python -m pip install --quiet --group supply
	touch $@

LOCK := .venv-supply/bin/uv pip compile --universal --python-version 3.13 --generate-hashes --upgrade --quiet \
	--no-annotate --custom-compile-command "make lock"

lock: .venv-supply/.installed  ## what the image is made of and with: the newest versions that fit, with their hashes
	echo "optim-client @ file://$(CURDIR)/clients/python" \
		| $(LOCK) pyproject.toml - --extra fused --no-emit-package optim-client --output-file requirements.lock
	$(LOCK) --group build --output-file requirements-build.lock

audit: .venv-supply/.installed  ## is a vulnerability known of what the image is made of? Asks the index's advisories
	.venv-supply/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock -r requirements-build.lock

.venv-peers/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-peers/bin/python -m pip install --quiet --editable clients/python --editable . --group test --group peers
	touch $@

peers: .venv-peers/.installed $(VENV)/.installed  ## the engine against live torch and optax, in their own environment
	.venv-peers/bin/python -m pytest tests/peers

.venv-bench/.installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-bench/bin/python -m pip install --quiet --editable clients/python --editable '.[fused]' --group test --group bench
	touch $@

bench: .venv-bench/.installed  ## all comparisons, in their own environment; BENCH="--quick --only step" for a part of them
	.venv-bench/bin/python -m benchmarks $(BENCH)

big: $(VENV)/.installed  ## a session of 100 million parameters on LMDB and on Redis; needs 12 GiB of memory
	$(BIN)/python -m benchmarks.big_session

clean:
	rm -rf $(VENV) .venv-supply .venv-peers .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .numba_cache
