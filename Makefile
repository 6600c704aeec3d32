# Every target can be the first command after a clone. It needs make and Python 3.11 or later, nothing else: the tools go
# into a virtual environment of their own, and stamp files remember which sets of dependencies are in it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # two pips must not write into one environment at the same time
.SUFFIXES:

# An interpreter named by the caller (`make test PYTHON=python3.12`) is taken as it is; otherwise the first good one.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

VENV := .venv
STAMPS := $(VENV)/stamps
PY := $(VENV)/bin/python
SOURCES := pyproject.toml nursery_tasks/_version.py
TYPED := $(wildcard nursery_tasks tests/typing examples)

# More arguments for pytest: make test PYTEST_ARGS="-k lease -x"
PYTEST_ARGS ?=
# More arguments for the benchmarks: make bench-table BENCH_ARGS="--quick --brokers Redis"
BENCH_ARGS ?=
# What `make bench-compare` puts beside this tree
REV ?=

# Material's notice about its successor; the notice itself names this switch.
export NO_MKDOCS_2_WARNING := 1
# Do not ask the network for a newer pyright on each run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo quick test soak everything servers check ruff mypy pyright site bench bench-table bench-compare bench-peers docs clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
	    printf '  make %-13s %s\n' "$$name" "$$what"; done

demo: $(STAMPS)/core ## See it work: a worker, a few jobs, a cancelled tree
	@$(PY) -m nursery_tasks demo

# More processes than cores, as most tests wait; whoever has no more takes over tests of the others.
PARALLEL := -n auto --dist worksteal

test: $(STAMPS)/test servers ## Run the tests, in random order, on several processes
	@$(PY) -m pytest $(PARALLEL) $(PYTEST_ARGS)

quick: $(STAMPS)/test ## Run the tests that need no server, on one event loop: for every few lines of a change
	@$(PY) -m pytest $(PARALLEL) -q -m 'quick and not soak and not thinned' $(PYTEST_ARGS)

soak: $(STAMPS)/test servers ## Run the long fault and endurance tests, and what `make test` leaves out because it is shown elsewhere
	@$(PY) -m pytest $(PARALLEL) -m 'thinned and not soak' $(PYTEST_ARGS)
	@$(PY) -m pytest -m soak --timeout 3600 -o faulthandler_timeout=0 $(PYTEST_ARGS)

everything: check test soak ## All of it, for a night

servers: # Redis, for the tests that start one: fast when it is there
	@sh tests/install_servers.sh

# One target per tool, so that `make -k check` runs them all and `make mypy` one.
check: ruff mypy pyright site ## Lint, formatting, types, and the documentation's links

ruff: $(STAMPS)/check
	@echo "ruff check";             $(PY) -m ruff check --quiet --output-format concise .
	@echo "ruff format --check";    $(PY) -m ruff format --quiet --check . || { $(PY) -m ruff format --check .; exit 1; }

mypy: $(STAMPS)/check
	@echo "mypy --strict $(TYPED)"; $(PY) -m mypy --strict --no-error-summary $(TYPED)

pyright: $(STAMPS)/check
	@echo "pyright";                $(PY) -m pyright

site: $(STAMPS)/check
	@echo "mkdocs build --strict";  $(call build_site)

bench: $(STAMPS)/bench ## Measure throughput, latency and CPU per job
	@$(PY) benchmarks/run.py

bench-table: $(STAMPS)/bench servers ## Measure nursery-tasks and every peer on Redis, RabbitMQ and SQLite in turns: one table, in 25 minutes
	@$(PY) benchmarks/run_table.py $(BENCH_ARGS)

bench-compare: $(STAMPS)/bench servers ## Measure this tree and another revision of it in turns: make bench-compare REV=main
	@$(PY) benchmarks/run_table.py --compare '$(or $(REV),$(error name a revision: make bench-compare REV=main))' $(BENCH_ARGS)

bench-peers: $(STAMPS)/bench servers ## Measure nursery-tasks on Redis and RabbitMQ beside its peers; the first time it installs them
	@$(PY) benchmarks/run_peers.py
	@$(PY) benchmarks/run_peers.py --rabbitmq

docs: $(STAMPS)/docs ## Build the documentation into site/
	@$(call build_site)
	@echo "the documentation is in site/index.html"

# Not with `--quiet`: that hides the warnings from `--strict`, too.
define build_site
$(PY) -m mkdocs build --strict >$(STAMPS)/site.log 2>&1 || { grep -v '^INFO' $(STAMPS)/site.log >&2; exit 1; }
endef

clean: ## Remove the environment and everything that was built
	@rm -rf $(VENV) .bench site dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment ------------------------------------------------------------------------------------------------------

# A half-made environment (Debian without python3-venv makes one without pip) is removed, so that the next call starts afresh.
$(STAMPS)/venv:
	@if ! $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    good=; bare=; \
	    for python in $(CANDIDATES); do \
	        "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	        if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then good=$$python; break; fi; \
	        bare=$${bare:-$$python}; \
	    done; \
	    if [ -z "$$good$$bare" ]; then \
	        echo "nursery-tasks needs Python 3.11 or later; tried: $(CANDIDATES). Name yours: make PYTHON=/path/to/python" >&2; \
	        exit 1; \
	    elif [ -z "$$good" ]; then \
	        echo "$$bare has no venv module; install it (Debian, Ubuntu: apt install python3-venv) and repeat" >&2; \
	        exit 1; \
	    fi; \
	    echo "making $(VENV) with $$good"; \
	    rm -rf $(VENV) && "$$good" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	fi
	@mkdir -p $(STAMPS) && touch $@

# $(call install,what): install quietly; what pip said is shown only when it failed.
define install
@echo "installing $(1)"
@$(PY) -m pip install --quiet --editable '$(1)' >$(STAMPS)/pip.log 2>&1 || { cat $(STAMPS)/pip.log >&2; exit 1; }
@touch $@
endef

$(STAMPS)/core: $(STAMPS)/venv $(SOURCES)
	$(call install,.)

$(STAMPS)/test $(STAMPS)/check $(STAMPS)/docs $(STAMPS)/bench: $(STAMPS)/%: $(STAMPS)/venv $(SOURCES)
	$(call install,.[$*])
