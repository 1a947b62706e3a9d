# Both targets do all their own set-up: they need Python >= 3.11, make and a package index.
# make demo: detect in photographs of this repository with the built-in model.
# make test: every check, without the tests of minutes.  make test-all: with them.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test test-all
demo: .venv/installed
	$(BIN)/glip detect docs/images/photo.jpg docs/images/cat.jpg docs/images/sheep.jpg --model glip-nano \
		--texts "mug . furniture . kitten . sheep . stethoscope ." -o outputs
	@echo "look at outputs/vis: photo.jpg, cat.jpg, sheep.jpg"

test test-all: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		$(if $(filter test-all,$@),-m "")

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "glip needs Python 3.11 or newer; none was found (make PYTHON=/path/to/python3)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
