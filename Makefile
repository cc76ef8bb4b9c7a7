# make study     execute the study and build its book       make book     build the book of the published run, or of the last
# make test      run the tests                              make lab      open the notebooks
# make pdf       the whole book as one file                 make archive  a zip to deposit, with checksums
# make publish   copy a profile's results to results/published
# Another interpreter: make study PYTHON=python3.12         Another profile: make study PROFILE=paper

PYTHON  ?= python3
PROFILE ?= demo
VENV    := .venv
RUN     := $(VENV)/bin/python
READY   := $(VENV)/.ready

.PHONY: study test book lab setup clean pdf archive publish
.DEFAULT_GOAL := study

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V), but Python 3.11 or newer is needed; name another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	@touch $@

study: $(READY)
	$(RUN) -m cag study --profile $(PROFILE)
	$(RUN) -m cag book --profile $(PROFILE)

# Without PROFILE on the command line: results/published where it exists, else the demo.
book: $(READY)
	$(RUN) -m cag book $(if $(filter command line,$(origin PROFILE)),--profile $(PROFILE))

pdf: book
	$(RUN) -m cag pdf
	@cp _build/book.pdf _build/html/book.pdf

archive: book
	$(RUN) -m cag archive

publish: $(READY)
	$(RUN) -m cag publish --profile $(PROFILE)

# A process for each core, and one thread in each.
test: $(READY)
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses=auto --dist=loadfile --cov=cag --cov-report=term-missing:skip-covered --cov-fail-under=85

lab: $(READY)
	$(RUN) -m jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_playground.ipynb

# The environment, the cohort and results stay.
clean:
	rm -rf _build book/notebooks book/_generated book/_exhibits book/figures.json .pytest_cache .ruff_cache .mypy_cache .coverage
