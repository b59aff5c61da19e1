# Two commands: `make run` serves Viewbox, `make test` proves it. Both set up all they need.
SHELL := /bin/bash
VENV ?= $(CURDIR)/.venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
APT := apt-get install -y -qq --no-install-recommends

.PHONY: run test test-long check faults setup assets lock clean

run: setup
	@exec $(PY) manage.py prepare --demo --serve

# What the set-up makes is stamped: a second start only compares dates.
setup: $(VENV)/.installed assets

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Viewbox needs Python 3.11 or later: install the package python3."; exit 1; }
	@$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && $(APT) python3-venv; \
		else echo "Python's venv is missing: install the package python3-venv."; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock | $(VENV)/bin/python
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock | $(VENV)/bin/python
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.installed

assets: $(VENV)/.installed
	@$(PY) -m apps.viewer.build
	@$(PY) -m portal.assets

# Once more on servers: the rooms whose work is with database, broker and storage. The others ask these rooms.
ROOMS := audit backup billing clinics ingest jobs keys links patients storage studies
OTHER_ROOMS := access accounts admin deidentification dicomweb exports notices sharing viewer

test: $(VENV)/.installed-dev assets
	@$(PY) -m tests.install
	@TEST_STACK=embedded $(PY) -m pytest -n 3 --dist loadgroup -q -m "not long"
	@echo "Once more on PostgreSQL, Redis and S3: the story, and $(ROOMS)"
	@TEST_STACK=servers $(PY) -m pytest -n 3 --dist loadgroup -q -m "not long" tests/flows $(ROOMS:%=tests/%)

# Every walk through a browser, kills, a place destroyed under viewers, power cuts, spoiled backups, the runbook; on servers
# the flows that tests/flows/conftest.py does not leave to one stack, and the walks over all URLs. Two workers: each has a
# whole installation and a browser.
test-long: $(VENV)/.installed-dev assets
	@$(PY) -m tests.install
	@TEST_STACK=embedded $(PY) -m pytest -n 2 --dist loadgroup -q -m long
	@echo "Once more on PostgreSQL, Redis and S3"
	@TEST_STACK=servers $(PY) -m pytest -n 2 --dist loadgroup -q tests/test_*.py tests/flows $(OTHER_ROOMS:%=tests/%)

# The long form of the fault tests; broken off, the kills go on where they stopped. The table is in var/faults/results.md.
faults: $(VENV)/.installed-dev assets
	@mkdir -p var/faults
	@failed=0; report=var/faults/results.json; \
	$(PY) -m tests.faults.damage --count 1000 --report $$report || failed=1; \
	$(PY) -m tests.faults.loss --instances 10000 --report $$report || failed=1; \
	$(PY) -m tests.faults.bucket --reads 200 --report $$report || failed=1; \
	$(PY) -m tests.faults.failover --viewers 20 --report $$report || failed=1; \
	$(PY) -m tests.faults.power --rounds 300 --report $$report || failed=1; \
	$(PY) -m tests.faults.kill --tally var/faults/kills.jsonl --web 500 --worker 500 --report $$report || failed=1; \
	$(PY) -m tests.faults.results $$report | tee var/faults/results.md; exit $$failed

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Remakes the locks after a change of requirements*.txt (uv resolves for every platform and Python from 3.11).
lock: $(VENV)/bin/python
	$(PY) -m pip install -q uv
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements-dev.txt -o requirements-dev.lock
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements.txt -c requirements-dev.lock -o requirements.lock

clean:
	rm -rf .venv node_modules static/vendor static/root/ohif static/root/quick
