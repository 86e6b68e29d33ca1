# Every environment lives in .venv/ and is made on first use from pyproject.toml and
# constraints.txt; a stamp file in it makes the next run start at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first Python that is new enough; `make PYTHON=/path/to/python3 ...` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$p" && break; done)

JAX := .venv/jax
TENSORFLOW := .venv/tensorflow
TORCH := .venv/torch
NEWEST := .venv/newest
BENCH := .venv/bench

# Environments are made without compiling (--no-compile): the first import of a module keeps its
# bytecode. Where this is set, each process would compile Keras anew: 8 seconds in place of 2.
unexport PYTHONDONTWRITEBYTECODE

SECONDS := 60

# Processes that run tests, one more than cores, since some tests wait;
# `make JOBS=0 ARGS=--pdb test` runs them in this one.
JOBS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := -m pytest -n $(JOBS) --dist worksteal

# What `make check` runs of the tests.
CHECKS := tests/test_layers.py tests/test_docs.py tests/test_package.py

# Files that `make test` leaves out.
SKIP :=

$(JAX)/.stamp: EXTRAS := jax,demo,test,check,docs
$(TENSORFLOW)/.stamp: EXTRAS := tensorflow,test
$(TORCH)/.stamp: EXTRAS := torch,test
$(NEWEST)/.stamp: EXTRAS := jax,test
$(BENCH)/.stamp: EXTRAS := bench,test

.venv/%/.stamp: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Headrace needs Python 3.11 or newer, found: $$("$(or $(PYTHON),python3)" --version 2>&1 \
	|| true). Name one with: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@echo "Making the environment $(@D) ($(EXTRAS))"
	@"$(PYTHON)" -m venv $(@D) || { echo "$(PYTHON) cannot make an environment: install" \
	"its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(@D)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
	-c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

.PHONY: help environments demo test test-backends test-tensorflow test-torch test-newest \
	test-nightly fuzz check lint types docs package map bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

environments: $(foreach env,$(JAX) $(TENSORFLOW) $(TORCH) $(NEWEST),$(env)/.stamp)

demo: $(JAX)/.stamp ## handwritten digits: makes an HDF5 file, trains from it, checks the accuracy
	@KERAS_BACKEND=jax $(JAX)/bin/python examples/digits.py

test: $(JAX)/.stamp ## the whole test suite, on JAX; says which ten tests took longest
	@KERAS_BACKEND=jax $(JAX)/bin/python $(PYTEST) --durations=10 --durations-min=1 \
	$(SKIP:%=--ignore=%) $(ARGS)

test-backends: test-tensorflow test-torch ## the Keras tests on TensorFlow and PyTorch

test-tensorflow: $(TENSORFLOW)/.stamp
	@KERAS_BACKEND=tensorflow $(TENSORFLOW)/bin/python $(PYTEST) tests/keras $(ARGS)

test-torch: $(TORCH)/.stamp
	@KERAS_BACKEND=torch $(TORCH)/bin/python $(PYTEST) tests/keras $(ARGS)

# Of the sources, the tests in which libhdf5 reads. The Keras tests run again only where there is a
# newer Keras than the pinned one.
LIBHDF5 := $(addprefix tests/sources/test_hdf5,.py _filters.py _members.py _opening.py _types.py)

test-newest: $(NEWEST)/.stamp ## tests with the newest Keras and h5py that are allowed
	@$(NEWEST)/bin/python -m pip uninstall --quiet --yes keras-nightly
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	--upgrade-strategy eager 'keras<4' 'h5py<4'
	@$(NEWEST)/bin/python -m pip list --format=freeze | grep -iE '^(keras|h5py|jax|numpy)='
	@newest=$$($(NEWEST)/bin/python -m pip list --format=freeze | grep '^keras='); \
	keras=$$(grep -qx "$$newest" constraints.txt || echo tests/keras); \
	KERAS_BACKEND=jax $(NEWEST)/bin/python $(PYTEST) $$keras \
	$(LIBHDF5) $(ARGS)

# The Keras tests that notice when Keras changes.
NIGHTLY := $(addprefix tests/keras/test_,adapt.py fit.py insides.py matrix.py position.py \
	refusals.py sequences.py steps_at_once.py)

test-nightly: $(NEWEST)/.stamp ## the Keras tests with last night's Keras
	@$(NEWEST)/bin/python -m pip uninstall --quiet --yes keras keras-nightly
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --pre keras-nightly
	@$(NEWEST)/bin/python -m pip list --format=freeze | grep -iE '^(keras-nightly|jax|numpy)='
	@KERAS_BACKEND=jax $(NEWEST)/bin/python $(PYTEST) $(NIGHTLY) $(ARGS)

fuzz: $(JAX)/.stamp ## reads damaged files for SECONDS=60; ARGS="--seed 7" damages them in other ways
	@KERAS_BACKEND=jax $(JAX)/bin/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

check: lint types docs package ## lint, format, types, layers, documentation, wheel and sdist
	@KERAS_BACKEND=jax $(JAX)/bin/python $(PYTEST) -q $(CHECKS)

lint: $(JAX)/.stamp
	@$(JAX)/bin/ruff check .
	@$(JAX)/bin/ruff format --check .

types: $(JAX)/.stamp
	@$(JAX)/bin/mypy

package: $(JAX)/.stamp ## builds the wheel and the sdist, installs each by itself and trains with it
	@$(JAX)/bin/python -m tools.smoke

# The theme prints the date on which its support ends, and names Zensical, its successor, at each
# build; NO_MKDOCS_2_WARNING leaves that out. Zensical builds the site from the same mkdocs.yml, but
# its --strict does not look at docstrings and at pages that the navigation lacks.
docs: $(JAX)/.stamp ## the documentation site, in build/site; fails on any warning
	@$(JAX)/bin/python -m tools.site
	@NO_MKDOCS_2_WARNING=1 $(JAX)/bin/python -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html, or serve it: python3 -m http.server --directory build/site"

map: ## docs/map.md: the files of the package, from the first lines of their docstrings
	@"$(PYTHON)" -m tools.map

bench: $(BENCH)/.stamp ## measures, keeps the records, makes the table and the plot
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

clean: ## removes environments, the demo's files and caches
	@rm -rf .venv .demo .fuzz build dist .hypothesis .jax_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
