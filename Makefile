# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The libraries that docs/interop.md is about, apart from ours: fiftyone brings another build of cv2.
INTEROP := .venv-interop
INTEROP_STAMP := $(INTEROP)/.installed
VIDEO ?=
export VIDEO
JOBS ?= 2

.PHONY: demo test check format clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(INTEROP_STAMP): docs/interop.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --upgrade pip
	$(INTEROP)/bin/python -m pip install --quiet --requirement docs/interop.txt
	touch $@

demo: $(STAMP)  ## embed a short sample video, or VIDEO=path, and show the result
	$(BIN)/python docs/demo.py $(if $(VIDEO),"$$VIDEO")

test: $(STAMP) $(INTEROP_STAMP)  ## the test suite
	$(BIN)/pytest -n $(JOBS) --dist worksteal

check: $(STAMP)  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(INTEROP) build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
