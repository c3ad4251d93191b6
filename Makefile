# Every target is enough on its own: it makes .venv, installs from the lock and builds what is missing.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PORT   ?= 8000

.PHONY: help demo test serve lint bench install lock clean

help:            ## this list
	@grep -E '^[a-z]+: .*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

demo: install    ## train on the sample, publish, serve, ask, send events, ask again
	$(BIN)/recsys demo

test: install    ## every test
	$(BIN)/python -m pytest -n auto --dist loadfile -q

serve: install   ## the REST API over the embedded stores in ./var, on 127.0.0.1:8000 (PORT=...)
	$(BIN)/recsys serve --port $(PORT)

lint: install    ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: install   ## benchmarks, results also in var/bench
	$(BIN)/python -m tests.benchmarks.topk
	$(BIN)/python -m tests.benchmarks.als
	$(BIN)/python -m tests.benchmarks.bpr

install: $(VENV)/built

lock:            ## write .requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --all-extras --group build --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --upgrade --quiet --output-file .requirements.lock

clean:           ## remove what make made
	rm -rf $(VENV) build recsys/kernels/_kernels*.pyi .pytest_cache .mypy_cache .ruff_cache .hypothesis

# What a fresh machine may lack is said in one line each, before anything is downloaded.
$(VENV)/locked: .requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "error: Python 3.11 to 3.14 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12"; exit 2; }
	@command -v $${CXX:-g++} >/dev/null || \
	  { echo "error: no C++ compiler. Install one (Debian, Ubuntu: apt-get install g++) or set CXX"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: $(PYTHON) has no venv. Debian, Ubuntu: apt-get install python3-venv"; exit 2; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || \
	  { echo "error: the headers of $(PYTHON) are missing. Debian, Ubuntu: apt-get install python3-dev"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .requirements.lock
	@touch $@

$(VENV)/built: $(VENV)/locked pyproject.toml CMakeLists.txt $(wildcard recsys/kernels/src/*)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
