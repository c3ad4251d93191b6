# Every target is enough on its own: it makes .venv, installs from the lock and builds what is missing.
PYTHON ?= python3
VENV   ?= .venv
PEERED ?= .venv-bench
BIN    := $(VENV)/bin
PORT   ?= 8000

.PHONY: help demo demo-aws test coverage serve lint sanitize bench package deploy install lock clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

demo: install    ## train on the sample, publish, serve, ask, send events, ask again
	$(BIN)/recsys demo

demo-aws: install ## the same on S3, DynamoDB and SQS, of which a stand-in on this machine plays the part
	$(BIN)/python -m tests.demo_aws

# In the order of the folders: by the number of their tests, the long files of one or two would come last and alone.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
test: install    ## every test
	$(BIN)/python -m pytest $(SPREAD) -q

# The tests that reach it: others would say no more, and those that count bytes would count the tracer's. A process that
# is killed leaves a file that combine cannot read, and says so.
COVERING := tests/contracts tests/unit/aws tests/unit/test_*.py tests/unit/serving/test_records.py \
  tests/unit/serving/test_trending.py tests/unit/batch_jobs/test_consumer.py tests/unit/batch_jobs/test_[degikp]*.py \
  tests/faults/test_aws_*.py tests/faults/test_d*.py tests/faults/test_misfitting_arrays.py \
  tests/api/test_auth*.py tests/api/test_tokens.py tests/api/test_limits.py
coverage: install ## branch coverage of what publishes, takes events in and lets requests in
	@rm -rf build/coverage
	$(BIN)/python -m coverage run -m pytest $(SPREAD) -q $(COVERING)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

serve: install   ## the REST API over the embedded stores in ./var, on 127.0.0.1:8000 (PORT=...)
	$(BIN)/recsys serve --port $(PORT)

lint: install    ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The kernels once more, as a package beside the tree. The interpreter below .venv runs it: it does not see the normal
# build. libstdc++ is loaded before Python, or the sanitizer cannot follow the exceptions of the bindings; pytest must
# neither catch the report nor the signal that leads to it.
SANITIZED := build/sanitized
sanitize: install  ## tests of the kernels with address and undefined-behaviour sanitizers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --upgrade \
	  --target $(SANITIZED) -C cmake.define.RECSYS_SANITIZE=ON -C cmake.build-type=Debug -C build-dir=$(SANITIZED)-build .
	@set -e; packages=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	python=$$($(BIN)/python -c 'import sys; print(sys._base_executable)'); cxx=$${CXX:-g++}; \
	export PYTHONPATH="$$PWD/$(SANITIZED):$$packages" PYTHONSAFEPATH=1 PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0; \
	export LD_PRELOAD="$$($$cxx -print-file-name=libasan.so) $$($$cxx -print-file-name=libstdc++.so)"; \
	$$python -c 'from recsys.kernels import _kernels as k; assert b"__asan_init" in open(k.__file__, "rb").read(), k'; \
	for name in $$($$python -c 'from recsys import kernels; print(*kernels.instruction_sets())'); do \
	  echo "sanitized, $$name:"; RECSYS_INSTRUCTION_SET=$$name $$python -m pytest -q --capture=sys -p no:faulthandler tests/kernels; \
	done

bench: $(PEERED)/built  ## benchmarks against the peers in .venv-bench, results also in var/bench
	$(PEERED)/bin/python -m tests.benchmarks.topk
	$(PEERED)/bin/python -m tests.benchmarks.score
	$(PEERED)/bin/python -m tests.benchmarks.als
	$(PEERED)/bin/python -m tests.benchmarks.bpr
	$(PEERED)/bin/python -m tests.benchmarks.sgd_mf
	$(PEERED)/bin/python -m tests.benchmarks.fm
	$(PEERED)/bin/python -m tests.benchmarks.fold_in
	$(PEERED)/bin/python -m tests.benchmarks.growth
	$(BIN)/python -m tests.benchmarks.serving
	$(BIN)/python -m tests.benchmarks.serving --memory --json var/bench/memory.jsonl
	$(BIN)/python -m tests.benchmarks.cold_start

# RUNTIME is the interpreter of Lambda's runtime, by its name on the path or by its path; without it the first of
# python3.13, python3.14, python3.12 that is there with its headers. SET is parameters of the template: SET="Jobs=... JobsImage=..."
STAGE ?= dev
ARCH  ?= x86_64
package: install ## the zip and the template of the API: STAGE=dev|prod ARCH=x86_64|arm64 TOKENS=1
	$(BIN)/python -m chalice_app.package --stage $(STAGE) --arch $(ARCH) $(if $(RUNTIME),--runtime $(RUNTIME)) $(if $(TOKENS),--tokens)

deploy: package  ## package, and put it into the AWS account the environment names
	$(BIN)/python -m chalice_app.deploy --stage $(STAGE) $(foreach one,$(SET),--set '$(one)')

install: $(VENV)/built

LOCK := uv pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --upgrade --quiet
lock:            ## write .requirements.lock and .requirements-bench.lock anew from pyproject.toml (needs uv)
	$(LOCK) --all-extras --group dev --output-file .requirements.lock
	sed '$(call NAMED,setuptools)d' .requirements.lock | $(LOCK) --extra batch --group bench --group bench-build \
	  --constraint - --output-file .requirements-bench.lock

clean:           ## remove what make made
	rm -rf $(VENV) $(PEERED) build recsys/kernels/_kernels*.pyi .pytest_cache .mypy_cache .ruff_cache .hypothesis

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

# The peers come last and one by one: some are built here, and one that cannot be must not stop the others. Old ones
# need the locked cmake on their path and its leave to ask for less than CMake 3.5.
PEERS := $(shell sed -n '/^bench = \[/,/^\]/s/^ *"\([a-z-]*\).*/\1/p' pyproject.toml)
NAMED  = /^$(1)==/,/[^\\]$$/
$(PEERED)/locked: $(VENV)/locked .requirements-bench.lock
	$(PYTHON) -m venv $(PEERED)
	@mkdir -p build; sed '$(foreach peer,$(PEERS),$(call NAMED,$(peer))d;)' .requirements-bench.lock > build/bench.txt
	$(PEERED)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r build/bench.txt
	@$(foreach peer,$(PEERS),sed -n '$(call NAMED,$(peer))p' .requirements-bench.lock > build/bench.txt; \
	  PATH="$(abspath $(PEERED))/bin:$$PATH" CMAKE_POLICY_VERSION_MINIMUM=3.5 \
	  $(PEERED)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation --no-deps \
	  -r build/bench.txt > build/$(peer).log 2>&1 || echo "$(peer) cannot be installed here (build/$(peer).log): left out";)
	@touch $@

$(PEERED)/built: $(PEERED)/locked $(VENV)/built
	$(PEERED)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
