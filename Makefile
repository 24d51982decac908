# make run    train NCF on MovieLens-100K, compare it, recommend (the first command to try)
# make test   lint, types and tests
# make clean  remove the environment
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled programs are kept between runs (about 4x faster starts), outside the repository.
export JAX_COMPILATION_CACHE_DIR ?= $(HOME)/.cache/rec_jax/compiled
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0

.PHONY: run test lint clean
run: $(VENV)/installed
	$(BIN)/python -m experiments.quickstart

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

# The stamp carries the time of the last good install: nothing is installed again until requirements.txt changes.
$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rec_jax needs Python 3.11 or newer, and '$(PYTHON)' is older or missing. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "'$(PYTHON) -m venv' failed: on Debian or Ubuntu, 'apt-get install python3-venv' brings it."; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV)
