# `make run` and `make test` are all that a newcomer needs; `make help` lists the rest.
# What is installed or made is remembered in stamp files, so that nothing is done twice.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check install clean

MODEL =
USERS = $(if $(MODEL),8,48)
PYTHON =

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/install.log
# No dependency is looked for: the pinned sets are complete. pip talks to the log; a failure shows the end of it.
pip_install = $(BIN)/python -m pip install --no-deps --disable-pip-version-check --no-input --progress-bar off $(1) \
    > $(LOG) 2>&1 || { tail -n 20 $(LOG) >&2; echo "The installation failed; the whole log is $(LOG)" >&2; exit 1; }

# A run is bound to its settings, so another model or number of users is another run, with its own dataset and name.
SAMPLE := .quickstart/sample$(if $(filter 48,$(USERS)),,-$(USERS))
SAMPLE_DONE := $(SAMPLE)/items/part-00000.parquet
TINY_MODEL_DONE := .quickstart/tiny-model/tiny_model.json
SAFE_MODEL := $(shell printf %s "$(MODEL)" | tr -c 'A-Za-z0-9._-' - | sed 's/^[^A-Za-z0-9]*//')
NAME := quickstart$(if $(MODEL),-$(SAFE_MODEL))$(if $(filter 48,$(USERS)),,-$(USERS)-users)
# The tiny model's noise never ends by itself, so jobs/quickstart.yaml cuts it short; a real model needs room for its differences.
MODEL_SETTINGS := --set models.llm.id="$(MODEL)" --set sampling.max_tokens=512
SETTINGS := --set name=$(NAME) --set dataset=$(SAMPLE) $(if $(MODEL),$(MODEL_SETTINGS))

help:
	@echo "make run      install what is needed (once) and run the DRP quickstart: no GPU, about four minutes"
	@echo "              MODEL=Qwen/Qwen2.5-0.5B-Instruct  a real model (hub id or folder) instead of the tiny random one"
	@echo "              USERS=100                         how many users to generate (48; 8 with a MODEL)"
	@echo "make test     the whole test suite"
	@echo "make check    lint, formatting and types"
	@echo "make install  only install, into $(VENV) (PYTHON=… chooses the Python)"
	@echo "make clean    remove $(VENV), .quickstart (with its results) and caches"

run: install $(SAMPLE_DONE) $(if $(MODEL),,$(TINY_MODEL_DONE))
	@$(if $(MODEL),echo "$(USERS) users with $(MODEL): a real model takes its time on a CPU. The job says how far it is.")
	@$(BIN)/drp-ray run jobs/quickstart.yaml $(SETTINGS)

test: $(VENV)/.dev-installed
	@$(BIN)/python -m pytest

check: $(VENV)/.dev-installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

install: $(VENV)/.package-installed

$(VENV)/.made:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	    if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "[1/3] Making a virtual environment in $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv $(VENV) && touch $@; exit; \
	    fi; \
	done; \
	echo "drp-ray needs Python 3.11 or later with the venv module, and none was found ($$(python3 --version 2>&1))." >&2; \
	echo "Install one (on Debian and Ubuntu: python3.11 and python3.11-venv) or name it: make run PYTHON=/path/to/python3.11" >&2; \
	exit 1

$(VENV)/.cpu-installed: requirements/cpu.txt | $(VENV)/.made
	@echo "[2/3] Installing $$(grep -c == $<) pinned packages: two minutes or more, once. Details: $(LOG)"
	@start=$$SECONDS; $(call pip_install,-r $<); echo "      done in $$((SECONDS - start)) s"
	@$(BIN)/python -c 'import torch' || { \
	    echo "PyTorch does not load. If a library of CUDA is missing, pip found PyTorch's build for GPUs: have pip look" >&2; \
	    echo "in PyTorch's index of CPU builds as well (PIP_EXTRA_INDEX_URL; its address is on pytorch.org), and start again" >&2; \
	    echo "after: rm -r $(VENV)" >&2; exit 1; }
	@touch $@

$(VENV)/.package-installed: pyproject.toml $(VENV)/.cpu-installed
	@echo "[3/3] Installing drp-ray itself, from this folder"
	@$(call pip_install,--no-build-isolation -e .)
	@touch $@

$(VENV)/.dev-installed: requirements/dev.txt $(VENV)/.package-installed
	@echo "Installing the tools for tests and checks"
	@$(call pip_install,-r $<)
	@touch $@

$(SAMPLE_DONE): drp_ray/data/sample.py | install
	@echo "Writing the embedded dataset"
	@$(BIN)/drp-ray sample $(SAMPLE) --users $(USERS) --seed 0
	@touch $@

$(TINY_MODEL_DONE): drp_ray/data/tiny_model.py | install
	@echo "Building the tiny language model (random weights: it writes noise)"
	@HF_HUB_DISABLE_PROGRESS_BARS=1 $(BIN)/drp-ray tiny-model .quickstart/tiny-model
	@touch $@

clean:
	rm -rf $(VENV) .quickstart build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
