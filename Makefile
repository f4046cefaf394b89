# The README's commands. Each does all the set-up that it needs on a fresh Debian or Ubuntu machine.
CNI ?= calico
ARGS ?=
VENV ?= .venv
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN = $(VENV)/bin

# Container images set it, and then each of the many processes of a run compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: conformance test lint unit faults bench clean system

conformance: $(VENV)/.ready ## run the suites against the lab: make conformance CNI=cilium
	$(BIN)/pytest --cni=$(CNI) --cni-cluster=lab -n 4 $(ARGS)

test: lint unit ## what CI runs

# mypy and import-linter read folders, not the mapping of pyproject.toml: show them the package as the wheel lays it out.
LAYOUT = build/layout
lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(LAYOUT) && mkdir -p $(LAYOUT) && cp -rp pytest_cniconformance $(LAYOUT)/ \
	&& cp -rp suites fixtures $(LAYOUT)/pytest_cniconformance/ && cp -rp kind-configs $(LAYOUT)/pytest_cniconformance/kind_configs
	cd $(LAYOUT) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache
	cd $(LAYOUT) && $(abspath $(BIN))/lint-imports --config $(CURDIR)/.importlinter --no-cache

unit: $(VENV)/.ready
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

faults: $(VENV)/.ready ## every fault of the lab, of which `make test` takes one in five
	CNI_EVERY_NTH_FAULT=1 $(BIN)/pytest -n 2 --dist worksteal tests/e2e/test_faults.py $(ARGS)

bench: $(VENV)/.ready ## print the figures of the README
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info cni-report .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# ip and nft carry the lab; installed only where they are missing and root or sudo allows it.
system:
	@missing=; for tool in ip nft conntrack; do PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing=1; done; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing=1; \
	if [ -n "$$missing" ]; then \
		root=; [ "$$(id -u)" = 0 ] || root="sudo -n"; \
		$$root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$root apt-get install -y -qq \
			--no-install-recommends iproute2 nftables conntrack python3-venv >/dev/null \
		|| { echo "install these first: iproute2 nftables conntrack python3-venv" >&2; exit 1; }; \
	fi

$(VENV)/.ready: pyproject.toml
	@$(MAKE) --no-print-directory system
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[lab]' --group dev
	@touch $@
