# Needs make, Python 3.11 or newer (`make PYTHON=/path/to/python3.12 ...` picks one), and a network
# for the first run. The demo has a small environment of its own; all other targets share ./.venv.

PYTHON ?= python3
ARGS ?=

VENV := .venv
DEMO_VENV := .venv-demo
PY := $(VENV)/bin/python
# Each is written when its installation is complete: an interrupted one starts again.
STAMP := $(VENV)/.installed
DEMO_STAMP := $(DEMO_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check docs format bench chaos dashboards clean

help: ## List the targets
	@echo "Taskflow. Usage: make TARGET [ARGS='...'] [PYTHON=python3]"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(DEMO_STAMP) ## Start the example shop, send it traffic, and show what its tasks do (Ctrl-C stops it)
	@$(DEMO_VENV)/bin/python docs/examples/demo.py $(ARGS)

test: $(STAMP) ## Run the whole test suite; ARGS are pytest's, e.g. make test ARGS='-k retry'
	$(PY) -m pytest $(ARGS)

check: $(STAMP) ## Formatting, lint, types, layers and docs: what a change must pass besides the tests
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) docs/build.py

docs: $(STAMP) ## Build the documentation into build/site; a warning is an error
	$(PY) docs/build.py
	@echo "To read it: $(PY) -m http.server --directory build/site 8080, then http://localhost:8080"

format: $(STAMP) ## Format the code and apply the safe fixes of the linter
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(STAMP) ## Measure throughput and overhead; ARGS=metrics runs only that benchmark, ARGS='against COMMIT' compares
	$(PY) -m tests.benchmarks.run $(ARGS)

chaos: $(STAMP) ## Kill instances and the store under load, and check every task; ARGS='sqlite=20 redis=5', or servers
	$(PY) -m tests.chaos $(ARGS)

dashboards: $(STAMP) ## Generate grafana/dashboards again, after a change of grafana/builders or of the limits
	$(PY) -m grafana.generate

clean: ## Remove the virtual environments, build results, caches and the demo's data
	rm -rf $(VENV) $(DEMO_VENV) .bench .cache build dist demo-data .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): EXTRA := dev
$(DEMO_STAMP): EXTRA := demo

# --clear, because an environment that two versions of Python made works with neither. pip shows what
# it downloads: the first time takes a while.
$(STAMP) $(DEMO_STAMP): pyproject.toml taskflow/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Taskflow needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
		echo "Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "Making the virtual environment $(@D) ..."
	@$(PYTHON) -m venv --clear $(@D)
	@echo "Installing Taskflow and what '$(EXTRA)' needs in $(@D); this is done once ..."
	@$(@D)/bin/python -m pip install --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $@
