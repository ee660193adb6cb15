# make bench    install, run suite laptop, print the headline table and where the report is
# make test     install, lint, check types, test
# make lint     style and types alone        make ui      the MLflow UI on 127.0.0.1:5000
# make clean    results and reports (the download cache and .venv stay)      make benchmarks   speed ratios

PYTHON ?= python3
SUITE ?= laptop
BIN := .venv/bin

.PHONY: bench test lint ui clean benchmarks lock

bench: .venv/.installed
	@$(BIN)/nnn-bench run $(SUITE)

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --lint

ui: .venv/.installed
	@$(BIN)/nnn-bench ui

benchmarks: .venv/.installed-test
	@$(BIN)/python -m benchmarks

clean:
	rm -rf results logs .snakemake
	find reports -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} +

# Exact versions of everything, for CPU and CUDA builds alike (hence neither hashes nor local version labels).
lock: .venv/.installed-test
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//; s/+cu[0-9]*$$//' > requirements.lock

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

# Compiled afterwards, by all cores: pip takes one, and where Python may write no bytecode every process would compile torch anew.
COMPILE = $(BIN)/python -m compileall -q -j 0 .venv/lib nnn_bench > /dev/null 2>&1 || true  # some packages carry files for other Pythons

.venv/.installed: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint requirements.lock --editable .
	@$(COMPILE)
	@touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint requirements.lock --editable '.[test]'
	@# Its layers need torch alone; what else it asks for is large, and a torchvision of another build breaks transformers.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps high-order-layers-torch==2.6.0
	@$(COMPILE)
	@touch $@
