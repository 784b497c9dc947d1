.DEFAULT_GOAL := help
.PHONY: help run browser test lint format build pins clean fuzz fuzz-short upload-torture api-fuzz bench-parsers bench-lists bench-pipeline bench-sandbox bench-upload

VENV := .venv
PEERS := .venv-bench
FUZZER := .venv-fuzz
NODE := .venv-node
PY := $(VENV)/bin/python
PYTHON ?= python3
PORT ?= 8000
# What asks nothing of the database that the rest does not ask need not run on the second one.
ENGINE_FREE := $(addprefix --ignore=tests/,parsers demo diagnosis browser uploader torture files/test_storage.py files/test_s3_uploads.py \
	$(addprefix api/test_,direct.py tus_clients.py upload_protocol.py schemathesis.py sockets.py wire.py))
PYTEST := $(PY) -m pytest -n 2 --dist worksteal -q

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

# The environment is made anew when a pin changes; the C modules when a source does.
$(VENV)/.ready: requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Argus needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)/.built: $(VENV)/.ready setup.py $(shell find parsers -name '*.pyx' -o -name '*.pxd')
	$(PY) setup.py --quiet build_ext --inplace
	@touch $@

build: $(VENV)/.built ## set up the environment and compile the parsers

run: build ## start Argus with a demo fleet on 127.0.0.1 (PORT=8000 to change)
	@exec $(PY) manage.py argus_demo --port $(PORT)

# Tests that need a browser skip without one; as root on Debian it can simply be installed.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq >/dev/null && apt-get install -qq -y chromium >/dev/null 2>&1; } \
	  || echo "No Chromium here: the browser tests will be skipped (apt-get install chromium)."

# Tests with the JavaScript upload client skip without Node.js.
$(NODE)/.ready: tests/js/package-lock.json
	@mkdir -p $(NODE) && cp tests/js/package.json tests/js/package-lock.json $(NODE)/
	@if ! command -v npm >/dev/null; then echo "No Node.js here: the tests with tus-js-client will be skipped (apt-get install nodejs npm)."; \
	elif npm ci --prefix $(NODE) --silent --no-audit --no-fund; then touch $@; \
	else rm -rf $(NODE)/node_modules; echo "npm could not install tus-js-client: the tests with it will be skipped."; fi

test: build lint browser $(NODE)/.ready ## run everything that must be green: lint, the suite on SQLite, the suite on PostgreSQL
	$(PYTEST)
	$(PY) -m tests.with_postgres $(PYTEST) $(ENGINE_FREE)

lint: build ## formatting, rules, types, import contract, migrations, deployment check
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy --no-error-summary
	MYPYPATH=uploader $(VENV)/bin/mypy --no-error-summary --config-file uploader/pyproject.toml
	PYTHONPATH=. $(VENV)/bin/lint-imports --no-logo
	$(PY) manage.py makemigrations --check --dry-run --verbosity 0
	ARGUS_HTTPS=1 ARGUS_SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))') $(PY) manage.py check --deploy --fail-level WARNING
	$(PY) manage.py spectacular --validate --fail-on-warn --file /dev/null

format: build ## rewrite the sources in the house format
	$(VENV)/bin/ruff format --quiet .
	$(VENV)/bin/ruff check --fix --quiet .

# What the benchmarks compare with has an environment of its own, so that nothing of it can reach Argus.
$(PEERS)/.ready: requirements-bench.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

# The fuzzer too; it needs clang besides (Debian: apt-get install clang libclang-rt-dev).
$(FUZZER)/.ready: requirements-fuzz.txt
	$(PYTHON) -m venv $(FUZZER)
	$(FUZZER)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	@touch $@

MINUTES ?= 30
fuzz: build $(FUZZER)/.ready ## fuzz one parser (FORMAT=blf MINUTES=30, of CPU time)
	$(PY) -m fuzz $(FORMAT) --minutes $(MINUTES)

fuzz-short: build ## mutate the samples of every parser for a few seconds each, without the fuzzer
	$(PYTEST) tests/parsers/test_fuzz_short.py tests/parsers/test_regressions.py

CUTS ?= 1000
upload-torture: build ## cut uploads at random places, files up to 64 MiB (CUTS=1000)
	$(PY) -m tests.torture --cuts $(CUTS)

EXAMPLES ?= 500
api-fuzz: build ## requests made out of the API description, many per operation (EXAMPLES=500)
	ARGUS_API_EXAMPLES=$(EXAMPLES) $(PY) -m pytest -q tests/api/test_schemathesis.py

bench-parsers: build $(PEERS)/.ready ## every reader beside its peers
	$(PY) -m bench.parsers

bench-lists: build ## batch list and batch page over 100,000 batches on PostgreSQL
	$(PY) -m tests.with_postgres $(PY) -m bench.lists

bench-sandbox: build ## what the sandbox costs for each small file
	$(PY) -m bench.sandbox

bench-upload: build ## uploads beside nginx, a bare socket loop and another tus server (needs nginx, node and npm)
	$(PY) -m bench.upload

bench-pipeline: build ## complete to completed, 10 files of 1 MB on 2 workers
	$(PY) -m bench.pipeline

pins: ## resolve requirements*.in into requirements*.txt (needs uv)
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header -q requirements.in -o requirements.txt
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header -q requirements-dev.in -o requirements-dev.txt
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header -q requirements-bench.in -o requirements-bench.txt
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header -q requirements-fuzz.in -o requirements-fuzz.txt

clean: ## remove what can be made again (not the data in var/)
	rm -rf $(VENV) $(PEERS) $(FUZZER) $(NODE) build .pytest_cache .mypy_cache .ruff_cache staticfiles
	find parsers -name '*.so' -delete
