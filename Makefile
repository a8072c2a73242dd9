# Understudy's workshop: `make demo` and `make test` are all a newcomer needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 4000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo parts test check bench proof clean

help:
	@echo "make demo   start the supervised two-node cluster, page at http://127.0.0.1:$(PORT)"
	@echo "make test   run every test        make check  lint, types, layers"
	@echo "make bench  side by side figures  make clean  remove what was made"
	@echo "make proof simulation [SEED=7]    a proof, written to docs/proofs"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Understudy needs Python 3.11 or newer; $$($(PYTHON) --version) is what '$(PYTHON)' is. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group dev --editable ".[fast,reload,postgres]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/understudy demo --port $(PORT)

# While this is there, Debian starts no service that it installs: the tests start servers of their own.
NO_SERVICES := /usr/sbin/policy-rc.d

# What tests drive and Python packages do not bring: installed where that is possible, else its tests are skipped and say so.
parts:
	@missing=; command -v chromium >/dev/null || missing=" chromium"; command -v erlc >/dev/null || missing="$$missing erlang-base"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$$missing postgresql"; \
	[ -e /usr/include/stdio.h ] || missing="$$missing libc6-dev"; \
	for part in cc:gcc etcd:etcd-server ip:iproute2 nft:nftables nsenter:util-linux sysctl:procps curl:curl systemd-analyze:systemd; do command -v $${part%%:*} >/dev/null || missing="$$missing $${part##*:}"; done; \
	if [ -z "$$missing" ]; then :; elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing$$missing for the tests that need it"; \
		if [ ! -e $(NO_SERVICES) ]; then printf '#!/bin/sh\nexit 101\n' >$(NO_SERVICES) && chmod +x $(NO_SERVICES) && trap 'rm -f $(NO_SERVICES)' EXIT; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
		echo "not here, and not to be installed by this user:$$missing; the tests that need it will be skipped"; \
	fi

# On two cores; a plain `pytest` runs one test after the other.
TWO := -n 2 --dist worksteal
test: $(STAMP) parts
	$(BIN)/python -m pytest $(TWO)
	$(BIN)/python -m pytest $(TWO) --loop uvloop

# The slow ones on a core each; what each of them says comes in one piece, where make can do that.
CHECKS := check-types check-types-again check-style check-layers
.PHONY: $(CHECKS)
check: $(STAMP)
	@$(MAKE) --no-print-directory --keep-going --jobs 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(CHECKS)
check-types:
	$(BIN)/mypy
check-types-again:
	$(BIN)/pyright
check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
check-layers:
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.link $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.cluster $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.gateway $(if $(QUICK),--quick)

# The words after `proof` name it: to make they are goals with nothing to do.
ifeq (proof,$(firstword $(MAKECMDGOALS)))
PROOF := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(PROOF)
$(PROOF):
	@:
endif

proof: $(STAMP) parts
	$(BIN)/python -m tests.proof $(PROOF) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV) .venv-bench .understudy build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis node_modules tests/system/screenshots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
