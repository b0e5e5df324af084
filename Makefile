# make demo: set up and run the whole pipeline on rendered people. make test: set up, lint, types, documentation, tests.
# The demo's environment has what the pipeline needs; make setup adds the tools for development and all parsers to it.
# make docs: the documentation, into build/site.
# make reference: the pages of it, and the lists in DVC's files, that follow from the program.
# make test-hostile: hostile inputs of seeded generators, in minutes; prints the table of what came of them.
# make gpu-check: check and measure this machine's GPU.
# make test-oldest: the quick tests with the lowest releases that pyproject.toml allows. make test-latest: all tests with
# the newest releases there are, also those that it does not allow yet. Each has an environment of its own, in build/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demo uses few of the modules that are installed: they are compiled when they are first imported, not beforehand.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --editable

# Test files at once: make test JOBS=4
JOBS ?= 2
# A process that dies ends the run with the test that it was at; one in its place would leave the run waiting for ever.
IN_PARALLEL := -n $(JOBS) --dist loadfile --max-worker-restart=0

OLDEST := build/oldest
LATEST := build/latest
# Folders and files without jobs of many processes: all dependencies are used, and it takes minutes.
QUICK := $(wildcard tests/test_*.py tests/shards/test_*.py) tests/datasets tests/evaluation tests/features tests/losses \
  tests/models tests/parsing tests/reporting tests/trainer tests/stages/test_cli.py
NOT_QUICK := $(patsubst %,tests/test_%.py,demo examples gpu_checks studies_dvc dvc_program)

.PHONY: setup demo test lint types docs reference tests test-hostile test-oldest test-latest gpu-check clean

setup: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(INSTALL) .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[dev,detectron2,transformers]'
	$(BIN)/python -m pipeline.parsing.detectron2.install
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true  # templates among the modules do not compile
	touch $(VENV)/.installed-demo $@

# A copy without its history (in a container, say): DVC is told not to look for one.
demo: $(VENV)/.installed-demo
	@test -e .git || git rev-parse --git-dir > /dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@echo "done: open artifacts/walkers/report.html in a browser; whether the masks are good: artifacts/walkers/inspect.html"
	@echo "next: change encoder.epochs in params.yaml and run make demo again; your own data: README.md"
	@photo=$$(ls data/walkers/query | head -n 1); echo "who is this? search the gallery for a photo:"; echo "  $(BIN)/ccaf-pipeline embed data/walkers/gallery --out artifacts/walkers/gallery.parquet"; echo "  $(BIN)/ccaf-pipeline search --gallery artifacts/walkers/gallery.parquet --query data/walkers/query/$$photo --html artifacts/walkers/search.html"

test: lint types docs tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

reference: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python -m pipeline.config.dvc_files

tests: setup
	$(BIN)/python -m pytest $(IN_PARALLEL)

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(IN_PARALLEL) $(filter-out $(NOT_QUICK),$(QUICK))

$(OLDEST)/.installed: pyproject.toml tests/dependency_bounds.py
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python tests/dependency_bounds.py lowest > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[dev,transformers]'
	touch $@

test-latest:
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python tests/dependency_bounds.py newest dev transformers > $(LATEST)/requirements.txt
	$(LATEST)/bin/python -m pip install --quiet --requirement $(LATEST)/requirements.txt
	$(LATEST)/bin/python -m pip install --quiet --no-deps --editable .
	$(LATEST)/bin/python tests/dependency_bounds.py beyond
	$(LATEST)/bin/python -m pytest $(IN_PARALLEL)

test-hostile: setup
	$(BIN)/python -m pytest -m hostile tests/hostile

gpu-check: setup
	@$(BIN)/python -c "import torch, sys; torch.cuda.is_available() or sys.exit('NO GPU WAS CHECKED: PyTorch finds no CUDA device on this machine; the check could not be made')"
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python benchmarks/gpu.py --out artifacts/gpu.json

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
