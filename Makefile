# `make demo` and `make test` set up their own environment in .venv; nothing else is needed first.
# An environment of your own: make test PYTHON=/path/to/python VENV=/path/to/its/venv (whose bin/ is used as it is).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.distill_bench
PROFILE ?= paper
ARGS ?=

.PHONY: help demo test test-slow lint format report campaign clean constraints

help: ## list what can be made
	@grep -hE '^[a-z][a-z0-9-]*%?:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(READY) ## distil the handwritten digits on the CPU and attack what learned from them: three minutes
	$(BIN)/python run.py experiment=demo $(ARGS)
	$(BIN)/python scripts/report.py
	@echo
	@echo 'Open report.html in a browser. Then, for example:'
	@echo '  $(BIN)/python run.py method=datadam dataset=digits ipc=1 profile=fast method.iterations=1000'
	@echo '  $(BIN)/python run.py -m method=random,herding,dm dataset=digits ipc=1,10 profile=fast seed=0,1,2'
	@echo '  $(BIN)/python run.py --help'

table-%: $(READY) ## a paper's table, into tables/, e.g. table-datadam-1 PROFILE=smoke|fast|paper ARGS="device=cuda"
	$(BIN)/python run.py experiment=$(subst -,_table,$*) profile=$(PROFILE) $(ARGS)

publish-%: $(READY) ## put a table of your own into results/, e.g. publish-datadam-1; no row loses seeds
	$(BIN)/python scripts/publish.py $(subst -,_table,$*)

report: $(READY) ## all runs, with tables and figures, in one HTML page: report.html
	$(BIN)/python scripts/report.py

methods: $(READY) ## the page of all methods, from their own files and the tables: results/methods.md
	$(BIN)/python scripts/methods.py

benchmark: $(READY) ## speed and memory against the plain formulations, into tables/benchmarks
	$(BIN)/python scripts/benchmark.py $(ARGS)

campaign: $(READY) ## what a GPU should measure first, e.g. ARGS="--time-limit 30m"; into campaign/
	$(BIN)/python scripts/campaign.py $(ARGS)

test: $(READY) ## the default tests, on all cores: six to eleven minutes on two
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu" $(ARGS)

test-slow: $(READY) ## the tests that take minutes, and those that need a GPU where there is one
	$(BIN)/python -m pytest -m "slow or gpu" $(ARGS)

lint: $(READY) ## ruff (check and format) and mypy over package, scripts and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(READY) ## write down the versions in use
	$(BIN)/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' > constraints.txt

clean: ## remove what the tools left (not runs, cache or data)
	rm -rf .ruff_cache .mypy_cache .pytest_cache build dist *.egg-info report.html
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
