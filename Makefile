# `make help` lists the targets. Everything lives in .venv; nothing is installed outside the project.
STUDY ?= studies/demo.yaml
CORES ?= all
PYTHON ?= python3
VENV := .venv

# What a user gives is text: make does not expand it ($(value ...)), and the shell sees it only as "$$NAME".
# `override` is needed for variables of the command line, which make would otherwise expand again for every command.
override STUDY := $(value STUDY)
override CORES := $(value CORES)
override DATA := $(value DATA)
override LAB_OPTIONS := $(value LAB_OPTIONS)
override MODEL := $(value MODEL)
ifneq ($(DATA),)
export CXR_KD_DATA := $(DATA)
endif
export STUDY CORES MODEL
# Not $(abspath ...), which takes a folder with a space in its name for two folders.
export PATH := $(CURDIR)/$(VENV)/bin:$(value PATH)

# Snakemake, Jupyter and matplotlib store files in the home folder. If it cannot be written, they get one in the project.
ifneq ($(shell test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.snakemake/home
endif

.DEFAULT_GOAL := help
.PHONY: help study demo test web-test check lab docs format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 16
	@echo; echo "  STUDY=studies/NAME.yaml chooses a study, DATA=DIR says where its data set is, CORES=N limits the cores."

study: $(VENV)/.installed ## run a study (studies/demo.yaml) and say where its report is
	@python workflow/start.py study "$$STUDY" --cores "$$CORES"

demo: ## read radiographs in the browser: build the page of web/ and serve it (MODEL=student.onnx)
	@sh web/demo.sh

test: $(VENV)/.installed ## run the tests (PYTEST="options of pytest")
	@OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --dist loadfile $(PYTEST)

web-test: $(VENV)/.installed ## test the page of web/ in Chromium
	@sh web/test.sh

check: $(VENV)/.installed ## lint, format, types, notebooks without outputs
	@python -m ruff check . && python -m ruff format --check . && python -m mypy
	@python -m nbstripout --verify notebooks/[0-9]*.ipynb && python -m cxr_kd.notebook notebooks/[0-9]*.ipynb

lab: $(VENV)/.installed ## open JupyterLab on the notebooks (LAB_OPTIONS="--ip 0.0.0.0" in a container)
	@python workflow/start.py lab $(LAB_OPTIONS)

docs: $(VENV)/.installed ## write notebooks, documents and the library's functions as pages to site/
	@python docs/pages.py site
	@echo "Open site/index.html in a browser"

format: $(VENV)/.installed ## format the code and strip the notebooks
	@python -m ruff check --fix . ; python -m ruff format . && python -m nbstripout notebooks/[0-9]*.ipynb

lock: $(VENV)/bin/uv ## resolve requirements.lock again from pyproject.toml
	@uv pip compile pyproject.toml --extra study --extra dev --extra weights --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --upgrade --output-file requirements.lock

clean: ## remove what studies wrote (runs/ and reports/), but not .venv
	@find runs reports -mindepth 1 ! -name README.md -delete

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "cxr_kd needs Python 3.11 or later; name one: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv

# The locked packages, each with its hash, then the package itself; again only after a change of one of these two files.
$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/uv
	@echo "Setting up $(VENV): about 7 GB, some minutes the first time"
	@uv pip install --python $(VENV) --require-hashes --requirement requirements.lock
	@uv pip install --python $(VENV) --no-deps --no-build-isolation --editable .
	@touch $@
