# The commands a person or a machine needs; each sets up what it uses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help demo test check bench fmt docs clean
help:
	@echo "make demo   a simulated fleet, supervised live for a minute"
	@echo "make test   the whole test suite"
	@echo "make check  lint, types, import layers, generated pages"
	@echo "make bench  the benchmark table (minutes)"
	@echo "make docs   write the generated reference pages anew"

# Where the venv module has no ensurepip (a bare Debian python3), virtualenv from the package index does the same.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("opsd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say PYTHON=python3.12 make ..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m pip install -q --user --break-system-packages virtualenv && $(PYTHON) -m virtualenv -q $(VENV); }

$(VENV)/.run-ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "setting up .venv (run time)"
	@$(PIP) install -c constraints.txt -e . && touch $@

$(VENV)/.dev-ready: $(VENV)/.run-ready
	@echo "setting up .venv (tests and checks)"
	@$(PIP) install -c constraints.txt -e '.[dev]' && touch $@

demo: $(VENV)/.run-ready
	@$(BIN)/opsd demo

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

docs: $(VENV)/.dev-ready
	$(BIN)/python -m docs.generate

bench: $(VENV)/.dev-ready
	$(BIN)/python -m benchmarks

fmt: $(VENV)/.dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
