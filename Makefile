# tmon from a checkout. It needs python3 (3.11 or later, with venv) and make; the tests, what README.md says.
PYTHON = python3
BIN = .venv/bin
UV = uv
# A file stays in one process, which has its browser and its stations. Tests wait more than they
# compute, for processes and for the disk: four keep two cores busy.
IN_PARALLEL = --numprocesses=4 --dist=loadfile --no-loadscope-reorder

# What is imported is compiled once, rather than by each of a thousand processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: check install run test lint types fmt soak bench bench-large screenshots words lock

check: lint types test

install: .venv/installed

run: install
	@sh scripts/run

test: .venv/installed-dev
	$(BIN)/python -m pytest $(IN_PARALLEL)

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-dev
	$(BIN)/mypy

fmt: .venv/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What needs many repeats or minutes; a short version of each is in `test`.
soak: .venv/installed-dev
	$(BIN)/python -m pytest -m soak

# Beside InfluxDB, VictoriaMetrics and Datasette: docs/performance.md. It needs wrk, influxdb and
# victoria-metrics (Debian's names); about fifteen minutes.
bench: .venv/installed
	$(BIN)/python -m bench

# The rows at 100 million readings: about thirty minutes, and 10 GB of disk.
bench-large: .venv/installed
	$(BIN)/python -m bench --large

# docs/*.png, and all pages to look at in screenshots/, with Debian's chromium: some minutes.
screenshots: .venv/installed-dev
	$(BIN)/python -m scripts.screenshots

# The texts of the pages into tmon/locale, where they are translated; then again, to compile them.
words: .venv/installed-dev
	$(BIN)/python -m scripts.words

# Exact versions and hashes of everything, for every platform. Needs uv, for its maintainers only.
lock:
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --extra build pyproject.toml -o requirements.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --extra build --extra dev pyproject.toml \
		-o requirements-dev.txt

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-dev: requirements-dev.txt tests/client/debian-11.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
		--target .venv/debian-11 -r tests/client/debian-11.txt
	@touch $@
