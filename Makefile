# Two commands matter: make demo, make test. Each does all the set-up it needs.

PYTHON ?= python3
VENV ?= .venv
HOST := $(VENV)/bin/python
BOOT := PYTHONPATH=host:shared $(PYTHON) -m labd_host.environments
# This checkout's code, whatever is installed.
export PYTHONPATH := $(CURDIR)/host:$(CURDIR)/board:$(CURDIR)/shared
WORKERS ?= 2
NETWORK ?= tfc-w1a1
BOARD_TESTS := tests/shared tests/board tests/contract
HOST_TESTS := tests/test_architecture.py tests/test_documents.py $(BOARD_TESTS) tests/host tests/end_to_end

.PHONY: help setup demo test test-host test-images test-train test-slow soak kinds lint bench train-env peer-env clean clean-all

help:
	@echo "make demo       the whole road once: network, FINN, bundle, virtual board, report; NETWORK=cnv-w1a1 or vgg9-w1a1, too"
	@echo "make test       every test that can run here; says which it skips and why"
	@echo "make test-slow  the tests that make test leaves out because they take long"
	@echo "make soak       full counts and fuzz of hundreds: half an hour and more"
	@echo "make bench      the speed goals, as ratios measured in one run"
	@echo "make lint       format, lint, types, Python 3.6 floor"
	@echo "make train-env  PyTorch and Brevitas, for labd train"
	@echo "make peer-env   finn-plus-driver on a virtual board, to test labd export against"
	@echo "make clean      what this checkout made; make clean-all: the environments in your home, too"

# The environment's own stamp says whether it is whole, so asking costs nothing.
$(VENV)/labd-installed: setup.py board/setup.py $(wildcard host/labd_host/environments/host*.txt)
	$(BOOT) ensure host --where $(VENV) >/dev/null
	$(HOST) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e ./board -e .
	@touch $@

setup: $(VENV)/labd-installed
	$(HOST) -m labd_host.environments ensure board >/dev/null

demo: setup
	$(HOST) -m labd_host.cli.main demo $(NETWORK)

test: test-host test-images test-train
	@echo "make test: all parts passed; what was skipped is named above; make test-slow has the rest"

test-host: $(VENV)/labd-installed
	@set -e; for name in board board30; do $(HOST) -m labd_host.environments ensure $$name --optional >/dev/null; done
	$(HOST) -m pytest -n $(WORKERS) -q $(HOST_TESTS)

# The board's code on the Pythons of the images and in 32 bits; a missing one is named, not failed.
test-images: $(VENV)/labd-installed
	@set -e; for name in py36 py38 py310 i386; do \
	  python=$$($(HOST) -m labd_host.environments ensure $$name --optional); \
	  if [ -n "$$python" ]; then echo "== $$name"; \
	    PYTHONPATH=$(CURDIR)/board:$(CURDIR)/shared $$python -m pytest -q -p no:cacheprovider $(BOARD_TESTS); fi; \
	done

test-train: $(VENV)/labd-installed
	@python=$$($(HOST) -m labd_host.environments python train); \
	if [ -n "$$python" ]; then echo "== train"; $$python -m pytest -q tests/train; \
	else echo "skipped: tests/train, torch is not installed: make train-env"; fi

test-slow: $(VENV)/labd-installed
	$(HOST) -m pytest -n $(WORKERS) -q -m slow $(HOST_TESTS)

soak: $(VENV)/labd-installed
	$(HOST) -m pytest -n $(WORKERS) -q -m soak $(HOST_TESTS)

kinds: $(VENV)/labd-installed
	PYTHONPATH=$(PYTHONPATH):$(CURDIR)/tests $(HOST) -m support.network_kinds

train-env: $(VENV)/labd-installed
	$(HOST) -m labd_host.environments ensure train

peer-env: $(VENV)/labd-installed
	$(HOST) -m labd_host.environments ensure peer

lint: $(VENV)/labd-installed
	@set -e; types=$$(dirname $$($(HOST) -m labd_host.environments ensure types)); \
	$$types/ruff format --check .; $$types/ruff check .; \
	$$types/vermin -q -t=3.6- --violations --eval-annotations --no-tips shared/labd_shared board/labd_board host/labd_host/remote/board_agent $(BOARD_TESTS) tests/support/bundles.py tests/support/cifar_files.py tests/support/paths.py tests/conftest.py; \
	$$types/mypy

bench: setup
	@status=0; for script in bench/bench_*.py; do $(HOST) $$script || status=1; done; exit $$status

clean:
	rm -rf $(VENV) build board/build .pytest_cache .mypy_cache .ruff_cache host/labd_host/remote/wheel
	find . -name '*.egg-info' -o -name __pycache__ | grep -v '^./.git/' | xargs rm -rf

clean-all: clean
	PYTHONPATH=host:shared $(PYTHON) -m labd_host.environments remove
