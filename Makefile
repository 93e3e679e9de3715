# `make run` and `make test` are all that a newcomer needs; `make help` lists the rest.
# What is installed or made is remembered in stamp files, so that nothing is done twice.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test soak bench-quick check audit install clean

MODEL =
ENDPOINT =
USERS =
KILLS = 100
RECORD =
PYTHON =

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/install.log
# pip looks for no dependencies, since the pinned sets are complete. Its output goes to the log, whose end is shown on failure.
pip_install = $(BIN)/python -m pip install --no-deps --disable-pip-version-check --no-input --progress-bar off $(1) \
    > $(LOG) 2>&1 || { tail -n 20 $(LOG) >&2; echo "The installation failed; the whole log is $(LOG)" >&2; exit 1; }

help:
	@echo "make run      install what is needed (once) and run the DRP quickstart: no GPU, about four minutes"
	@echo "              MODEL=Qwen/Qwen2.5-0.5B-Instruct  a real model instead of the sample writer: a hub id, a folder,"
	@echo "                                                or package:NAME for one that a Python package carries"
	@echo "              ENDPOINT=http://localhost:11434/v1  a server that has the MODEL (Ollama, vLLM, llama.cpp)"
	@echo "              USERS=100                         how many users to generate (48; 8 with a MODEL)"
	@echo "make test     the whole test suite"
	@echo "make soak     kill one run again and again (KILLS=100), and count what that cost; long"
	@echo "make bench-quick  the benchmarks' ratios in small (three minutes): fails where one fell by more than a tenth"
	@echo "              RECORD=1                          writes benchmarks/results/quick.json instead"
	@echo "make check    lint, formatting, types, secrets; and what is known against the pinned packages, which does not fail it"
	@echo "make audit    fail where something is known against a pinned package"
	@echo "make install  only install, into $(VENV) (PYTHON=… chooses the Python)"
	@echo "make clean    remove $(VENV), the quickstart (job files, .quickstart with its results) and caches"

run: install
	@$(BIN)/drp-ray quickstart $(if $(USERS),--users $(USERS)) $(if $(MODEL),--model "$(MODEL)") $(if $(ENDPOINT),--endpoint "$(ENDPOINT)")

test: $(VENV)/.dev-installed $(VENV)/.browser-looked-for
	@$(BIN)/python -m pytest

soak: $(VENV)/.dev-installed
	@$(BIN)/python -m benchmarks.soak --kills $(KILLS)

bench-quick: $(VENV)/.dev-installed
	@$(BIN)/python -m benchmarks.quick $(if $(RECORD),--record)

check: $(VENV)/.dev-installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --exclude-lines api_key_env --exclude-secrets '^(test|another|secret|s3cr3t)$$' \
	    --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString
	@$(MAKE) --no-print-directory audit || echo "The audit above fails no check: a new finding is nobody's change"

# pip-audit asks PyPI; a package that is not known there (of another index) cannot be audited.
audit: $(VENV)/.dev-installed
	@for set in cpu dev; do \
	    $(BIN)/pip-audit -r requirements/$$set.txt --no-deps --disable-pip --progress-spinner off --timeout 5 2>&1 \
	        | grep -v -e "^WARNING" -e "could not be audited" -e "^Name .*Skip Reason" -e "^---" ; \
	    if [ $${PIPESTATUS[0]} != 0 ]; then exit 1; fi; \
	done

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

# The report's tests need a browser. It is installed where that needs no question; elsewhere they are skipped.
$(VENV)/.browser-looked-for: | $(VENV)/.made
	@if ! command -v chromium > /dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    echo "Installing Chromium for the tests of the report"; \
	    { apt-get update && apt-get install -y --no-install-recommends chromium; } > $(LOG) 2>&1 || true; \
	fi
	@command -v chromium > /dev/null || echo "There is no chromium: the tests of the report in a browser are skipped"
	@touch $@

clean:
	rm -rf $(VENV) .quickstart quickstart.yaml quickstart-*.yaml build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
