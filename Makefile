# `make help` lists the targets.  Everything lives in .venv; nothing is installed outside the project.
STUDY ?= studies/demo.yaml
CORES ?= all
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export CXR_KD_DATA := $(if $(DATA),$(shell realpath -m "$(DATA)"),$(CXR_KD_DATA))
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help study test check lab format lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 16
	@echo; echo "  STUDY=studies/NAME.yaml chooses a study, DATA=DIR says where its data set is, CORES=N limits the cores."

study: $(VENV)/.installed ## run a study (studies/demo.yaml) and say where its report is
	@snakemake --snakefile workflow/Snakefile --profile workflow/profiles/local --cores $(CORES) --config study=$(STUDY)
	@echo; echo "The report: reports/$(basename $(notdir $(STUDY)))/index.html (open it in a browser)"

test: $(VENV)/.installed ## run the tests
	@pytest

check: $(VENV)/.installed ## lint, format, types, notebooks without outputs
	@ruff check . && ruff format --check . && mypy && nbstripout --verify notebooks/*.ipynb
	@python -m cxr_kd.notebook notebooks/*.ipynb

lab: $(VENV)/.installed ## open JupyterLab on the notebooks
	@jupyter lab notebooks

format: $(VENV)/.installed ## format the code and strip the notebooks
	@ruff check --fix . ; ruff format . && nbstripout notebooks/*.ipynb

lock: $(BIN)/uv ## resolve requirements.lock again from pyproject.toml
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --upgrade --output-file requirements.lock

clean: ## remove what studies wrote (runs/ and reports/), but not .venv
	@find runs reports -mindepth 1 ! -name README.md -delete

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "cxr_kd needs Python 3.11 or later; name one: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# The locked packages, each with its hash, then the package itself; again only when what they come from has changed.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	@echo "Setting up $(VENV): about 7 GB, some minutes the first time"
	@VIRTUAL_ENV=$(abspath $(VENV)) uv pip install --require-hashes --requirement requirements.lock
	@VIRTUAL_ENV=$(abspath $(VENV)) uv pip install --no-deps --no-build-isolation --editable .
	@touch $@
