# The two commands of a newcomer are `make run` and `make test`; the rest is for who works on Kith.
# Each target first lets realtime/installer.py bring .venv up to date; that does nothing, and needs no
# network, while the pins, this file and the installer are the ones .venv was made from.
#   PORT=8001 make run     another port             ARGS="-k outbox" make test     hand arguments on
#   make run HASHES=0      a mirror that rebuilds wheels has other hashes than the pins

HASHES ?= 1
ARGS ?=
PYTHON ?=

.PHONY: run test check fmt soak bench chaos reset doctor install install-test
.DEFAULT_GOAL := run

# python3.11 is what Kith is tested on; a shim of that name may exist and not work, so each is tried.
define installed
@for python in "$(PYTHON)" python3.11 python3 python3.12 python3.13; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		exec "$$python" -I realtime/installer.py --hashes $(HASHES) $(1); \
	fi; \
done; \
echo "Kith needs Python 3.11 or newer, and neither python3.11 nor a python3 that new is on the PATH." >&2; exit 1
endef

# exec: the server takes the shell's place. Ctrl-C reaches it as one of the terminal's group and TERM through make;
# make reports a signal of its own (130, 143), `.venv/bin/kith serve` the server's exit code.
run: install
	@exec .venv/bin/kith serve $(ARGS)

test: install-test
	@exec .venv/bin/python -m pytest $(ARGS)

check: install-test
	@exec .venv/bin/python tests/check.py

fmt: install-test
	@.venv/bin/python -m ruff format .
	@.venv/bin/python -m ruff check --fix .

soak: install-test
	@exec .venv/bin/python -m pytest -m soak $(ARGS)

chaos: install-test
	@exec .venv/bin/python -m pytest -m chaos $(ARGS)

bench: install-test
	@exec .venv/bin/python -m loadtest.bench $(ARGS)

reset: install
	@exec .venv/bin/kith reset $(ARGS)

doctor: install
	@exec .venv/bin/kith doctor $(ARGS)

install:
	$(call installed,run)

install-test:
	$(call installed,test)
