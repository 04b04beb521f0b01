# Targets install into .venv, so .venv/bin/optim is there afterwards. A fresh machine needs Python 3.11, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Tests start hundreds of interpreters: each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test campaign watch check serve peers clients page observe deploy fleet ray bench big chaos lock audit clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / {printf "  make %-9s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=26"
	$(BIN)/python -m pip install --quiet --editable clients/python --editable . --group test --group check
	touch $@

demo: $(VENV)/.installed  ## watch a network learn through the service, whose server is killed in the middle of a step
	$(BIN)/optim demo

PYTEST := $(BIN)/python -m pytest -n 3 --timeout 300

test: $(VENV)/.installed  ## run the tests, without those of seconds, on the embedded store and on a real Redis
	$(PYTEST) --dist loadfile --no-loadscope-reorder -m "not long"

campaign: $(VENV)/.installed  ## run the long tests, and in full those that multiply or repeat: products of rules, many examples
	$(PYTEST) --dist worksteal -m long
	CHAOS=whole $(PYTEST) --dist worksteal -m "campaign or hypothesis" --timeout 3600

watch: $(VENV)/.installed  ## run the tests of what changed since the last commit, again at each save; at most 10 s a run
	$(BIN)/python -m tests.watch

chaos: $(VENV)/.installed  ## run every check of docs/reliability.md in full, about two hours, with HAProxy and nginx from Debian; ONLY="-k races" for a part
	CHAOS=whole $(BIN)/python -m tests.fleet tests -s -m requirement $(ONLY)
	$(BIN)/python -m tests.chaos.page

serve: $(VENV)/.installed  ## run the service on the embedded store, at http://127.0.0.1:8000
	$(BIN)/optim serve

check: $(VENV)/.installed  ## check style, types, imports, docstrings, sizes and names
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs/test_docstrings.py tests/docs/test_mirrors.py tests/docs/test_sizes.py

.venv-supply/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-supply/bin/python -m pip install --quiet --group supply
	touch $@

LOCK := .venv-supply/bin/uv pip compile --universal --python-version 3.13 --generate-hashes --upgrade --quiet \
	--no-annotate --custom-compile-command "make lock"

lock: .venv-supply/.installed  ## lock what the image installs and builds with: the newest versions that fit, with their hashes
	echo "optim-client @ file://$(CURDIR)/clients/python" \
		| $(LOCK) pyproject.toml - --extra otel --no-emit-package optim-client --output-file requirements.lock
	$(LOCK) --group build --output-file requirements-build.lock

audit: .venv-supply/.installed  ## look for known vulnerabilities of the locked packages; needs an index with advisories
	.venv-supply/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock -r requirements-build.lock

.venv-peers/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-peers/bin/python -m pip install --quiet --editable clients/python --editable . --group test --group peers
	touch $@

peers: .venv-peers/.installed $(VENV)/.installed  ## test the engine and the client with live torch, JAX, optax and others, in an environment of their own
	.venv-peers/bin/python -m pytest tests/peers --timeout 300

clients: $(VENV)/.installed  ## build and prove the clients in all languages, with the tools of the package managers; ONLY="c go" for some
	$(BIN)/python -m tests.clients $(ONLY)

page: $(VENV)/.installed  ## test the page in real Chromium, with axe-core from npm; ONLY="-k list" for a part
	$(BIN)/python -m tests.page $(ONLY)

observe: $(VENV)/.installed  ## prove the metrics, alerts and dashboards with a real Prometheus from Debian; ONLY="-k alerts" for a part
	$(BIN)/python -m tests.observability $(ONLY)

$(VENV)/.deploy: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group deploy
	touch $@

deploy: $(VENV)/.deploy  ## render the Helm chart with each of its value files, lint it, and hold it to Kubernetes's schemas
	$(BIN)/python -m pytest -q tests/deploy

fleet: $(VENV)/.installed  ## prove the balancers with real HAProxy and nginx from Debian; ONLY="-k nginx" for a part
	$(BIN)/python -m tests.fleet $(ONLY)

.venv-ray/.installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-ray/bin/python -m pip install --quiet --editable clients/python --editable . --group test --group ray
	touch $@

ray: .venv-ray/.installed  ## test the service on a real Ray Serve, in an environment of its own; its replicas are killed
	.venv-ray/bin/python -m pytest -q tests/ray --timeout 600 -W ignore::DeprecationWarning

.venv-bench/.installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade "pip>=26"
	.venv-bench/bin/python -m pip install --quiet --editable clients/python --editable . --group test --group bench
	touch $@

bench: .venv-bench/.installed  ## measure all comparisons and write docs/performance.md; BENCH="--quick --only step" for a part
	.venv-bench/bin/python -m benchmarks $(BENCH)

big: $(VENV)/.installed  ## step a session of 100 million parameters on LMDB and on Redis; needs 12 GiB of memory
	$(BIN)/python -m benchmarks.big_session

clean:  ## remove the environments, what the clients were built to, and every cache
	rm -rf $(VENV) .venv-supply .venv-peers .venv-clients .venv-ray .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .numba_cache
	rm -rf clients/*/build clients/typescript/dist clients/typescript/node_modules tests/page/node_modules
