# The two commands of the README are `make demo` and `make test`; each makes its own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo web test test-thorough verify check lint types bench crash-rounds fault-rounds docs clean

# The demo needs only the package itself; tests and checks need the development tools as well.
$(BIN)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("actorq needs Python 3.11 or later; this is %d.%d. Say which one: make PYTHON=python3.12 ..." % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cron]'
	@touch $@

$(BIN)/.dev: $(BIN)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

demo: $(BIN)/.installed
	@$(BIN)/python examples/index_tree.py $(ARGS)

$(BIN)/.web: $(BIN)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cli]' --group web
	@touch $@

# the web application of examples/web, with its workers: ARGS="--port 8080 --processes 4"
web: $(BIN)/.web
	@$(BIN)/python examples/web/start.py $(ARGS)

test: $(BIN)/.dev
	@$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

# twenty times as many examples: for nights
test-thorough:
	@HYPOTHESIS_PROFILE=thorough $(MAKE) --no-print-directory test

# the tests, and docs/verification.md from what they showed; but not the test that compares the two
verify: $(BIN)/.dev
	@$(BIN)/python -m pytest --numprocesses auto --dist worksteal --ignore tests/test_verification.py \
		--actorq-report=docs/verification.md $(ARGS)

check: lint types

lint: $(BIN)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(BIN)/.dev
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(BIN)/.dev
	@$(BIN)/python benchmarks/run.py $(ARGS)

# real processes on one file, killed at random: 200 rounds of 500 tasks; ARGS="ROUNDS SEED AT_ONCE"
crash-rounds: $(BIN)/.dev
	@PYTHONPATH=tests:. $(BIN)/python -m crash $(ARGS)

# the same with faults of servers: ARGS="ENGINE FAULT ROUNDS SEED", such as "redis cut 100", "all all 20"
fault-rounds: $(BIN)/.dev
	@PYTHONPATH=tests:. $(BIN)/python -m crash.fault_rounds $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
