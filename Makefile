# Two commands on a fresh machine: `make demo` and `make test`; `make quick` while one writes.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# A file's tests stay together: what they share, such as a deployed federation, is made once.
PYTEST  = $(BIN)/python -m pytest -n 2 --dist loadfile
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

# Nothing contacts the outside while fedcl runs.
export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1

# The tests start some hundred processes, which import for seconds: what they import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick thorough format lint contracts types tests bench docs clean

demo: $(VENV)/installed              ## Set up, train 64 sites together, pooled and alone; print the three
	$(BIN)/fedcl simulate configs/demo.yaml --restart
	@echo "For comparison: everybody pooled in one place, and each site alone."
	@$(BIN)/fedcl pooled configs/demo.yaml --restart > runs/demo/pooled.txt & pooled=$$!; \
	$(BIN)/fedcl local configs/demo.yaml --restart > runs/demo/local.txt; alone=$$?; \
	wait $$pooled && test $$alone -eq 0
	$(BIN)/fedcl compare runs/demo-local runs/demo runs/demo-pooled

# The types are checked while the tests run, which leave a core idle where one waits for processes;
# their verdict is printed last, and either's failure is the command's.
test: $(VENV)/installed-dev format lint contracts   ## Set up and pass every check
	@$(BIN)/mypy > $(VENV)/types.log 2>&1 & types=$$!; \
	$(PYTEST); tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/types.log; test $$tests -eq 0 -a $$types -eq 0

quick: $(VENV)/installed-dev format lint contracts  ## All but federations and slow tests, a minute or two
	$(PYTEST) -m 'not process and not slow' --hypothesis-profile quick

thorough: $(VENV)/installed-dev      ## The properties on 200 examples each instead of 15: for a night
	$(PYTEST) --hypothesis-profile thorough

format: $(VENV)/installed-dev
	$(BIN)/ruff format --check .

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .

contracts: $(VENV)/installed-dev
	$(BIN)/lint-imports

types: $(VENV)/installed-dev
	$(BIN)/mypy

tests: $(VENV)/installed-dev
	$(PYTEST)

bench: $(VENV)/installed-dev         ## Measure, and write docs/measurements/benchmarks.md; BENCH holds options
	$(BIN)/python benchmarks $(BENCH)

docs: $(VENV)/installed-docs         ## Write the generated reference pages, and build the site into site/
	$(BIN)/python docs/tables.py
	$(BIN)/python docs/reference/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fedcl needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first and alone: so the build that fits this machine is chosen before anything asks for one.
$(VENV)/installed: $(VENV)/bin/python constraints.txt pyproject.toml
	$(PIP) install torch -c constraints.txt
	$(PIP) install -e . -c constraints.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install -e '.[dev,flower-engine]' -c constraints.txt
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) install -e '.[docs]' -c constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) site runs data .mypy_cache .ruff_cache .pytest_cache
