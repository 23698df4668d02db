# Needs python3 (3.11 or newer) with pip, make and git. Everything else goes into .venv/ and .cache/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check --quiet
RUNNABLE := $(VENV)/.runnable
TESTABLE := $(VENV)/.testable
PACKABLE := $(VENV)/.packable

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test judge system-test soak soak-test bench packages container clean peers venv

help:
	@echo 'make run    run the demo of etc/demo.yaml: a NATS server and one MCP server'
	@echo 'make test   check and test everything'
	@echo 'make judge  let every client meet every server, show a table, and run the conformance suite of MCP'
	@echo 'make system-test  install the packages in Debian trees, boot those, and test the service'
	@echo 'make soak   10 minutes of load, reloads and kills; SOAK_ARGS="--minutes 2 --seed 7" for another one'
	@echo 'make soak-test  half a minute of it, that its checks see what they are for, and reloads under load'
	@echo 'make bench  measure'
	@echo 'make packages  build a deb and an rpm for each architecture, into dist/'
	@echo 'make container  fill build/container, from which podman or docker build the image'
	@echo 'make clean  remove what the other targets made'

run: $(RUNNABLE)
	@$(BIN)/python tests/peers/install.py servers
	@echo 'make: once it is up, try in another terminal: $(BIN)/mcpnatsd call time get_current_time timezone=Europe/Paris'
	@exec $(BIN)/mcpnatsd run --config etc/demo.yaml

test: $(TESTABLE) peers
	@echo '== ruff check'
	@$(BIN)/ruff check .
	@echo '== ruff format'
	@$(BIN)/ruff format --check .
	@echo '== mypy'
	@$(BIN)/mypy
	@echo '== lint-imports'
	@$(BIN)/lint-imports
	@echo '== pytest'
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGS)

judge: $(TESTABLE) peers
	@$(BIN)/python -m tests.judge_http.install
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -o addopts='--reruns 1' tests/judge tests/judge_http $(JUDGE_ARGS)

soak: $(TESTABLE)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.soak $(SOAK_ARGS)

soak-test: $(TESTABLE)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -o addopts='--reruns 1' tests/e2e/test_soak.py tests/e2e/test_reload_load.py

bench: $(TESTABLE) peers
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.bench

# Boots Debian trees, so it needs root on a Debian; it says so where that is not to be had.
system-test: $(TESTABLE) $(PACKABLE)
	@$(BIN)/python tests/system/possible.py
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -o addopts='-n 2 --dist loadscope --reruns 1' tests/system $(SYSTEM_ARGS)

packages: $(PACKABLE)
	@PYTHONPATH="$(CURDIR):$(CURDIR)/packaging" $(BIN)/python -m linux_packages $(PACKAGES_ARGS)

container: $(PACKABLE)
	@PYTHONPATH="$(CURDIR):$(CURDIR)/packaging" $(BIN)/python -m container_image $(CONTAINER_ARGS)

peers: $(TESTABLE)
	@$(BIN)/python tests/peers/install.py

$(RUNNABLE): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo 'mcpnatsd needs Python 3.11 or newer, and there is no "$(PYTHON)": try make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("mcpnatsd needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try make PYTHON=/path/to/python3" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo 'make: installing mcpnatsd into $(VENV)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory venv
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[embedded]'
	@touch $@

# A python3 from a distribution may lack ensurepip: then its own pip does that part.
venv:
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --quiet --python $(VENV) install pip; }

$(TESTABLE): $(RUNNABLE)
	@echo 'make: installing the test tools into $(VENV)'
	@$(PIP) install --group dev
	@touch $@

$(PACKABLE): $(RUNNABLE)
	@echo 'make: installing what builds packages into $(VENV)'
	@$(PIP) install --group packages
	@touch $@

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find mcpnatsd tests -name __pycache__ -type d -prune -exec rm -rf {} +
