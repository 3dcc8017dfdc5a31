# make run    installs kerasnn into .venv and trains LeNet-5 on scikit-learn's digits, offline
# make test   installs what tests need, checks style and runs all tests
# make lint   checks style alone
# make format rewrites files into that style
# make clean  removes what was built; the runs stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test lint format clean

run: $(VENV)/.installed
	$(BIN)/python -m kerasnn

test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(foreach room,. examples/plugin,$(addprefix $(room)/,build dist *.egg-info .pytest_cache .ruff_cache))

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing kerasnn and TensorFlow into $(VENV): about 3 GB, some minutes, once."
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV)."
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.installed
