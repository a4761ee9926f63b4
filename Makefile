# The two commands of a newcomer are `make run` and `make test`; `make help` lists the others.
# Each target first lets realtime/installer.py bring .venv up to date; that does nothing, and needs no
# network, while the pins, this file and the installer are the ones .venv was made from.
#   PORT=8001 make run     another port             ARGS="-k outbox" make test     hand arguments on
#   make run HASHES=0      a mirror that rebuilds wheels has other hashes than the pins

HASHES ?= 1
ARGS ?=
PYTHON ?=
COMPOSE ?= docker compose --env-file .env.docker

.PHONY: run test check fmt lint soak bench chaos reset doctor dev seed worker help
.PHONY: docker-up docker-down docker-seed docker-logs docker-env install install-test
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
run: install  ## install what is missing, start PostgreSQL and Kith, print the URL
	@exec .venv/bin/kith serve $(ARGS)

# Without arguments two at once, for half of them wait for a process to start; with arguments one after the other, so
# that -s, -x and --pdb do what they say (ARGS="-n 2 …" for both).
test: install-test  ## run everything that needs no load
	@exec .venv/bin/python -m pytest $(or $(ARGS),-n 2 --dist worksteal)

check: install-test  ## what CI does: format, lint, types, tests
	@exec .venv/bin/python tests/check.py

fmt: install-test  ## format the code, and mend what the linter can
	@.venv/bin/python -m ruff format .
	@.venv/bin/python -m ruff check --fix .

lint: install-test  ## look at format, lint and types, and change nothing
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m mypy

soak: install-test  ## long property, fuzz, install and kill runs
	@exec .venv/bin/python -m pytest -m soak $(ARGS)

chaos: install-test  ## kill and partition runs under load
	@exec .venv/bin/python -m pytest -m chaos $(ARGS)

bench: install-test  ## the benchmarks of docs/performance.md
	@exec .venv/bin/python -m loadtest.bench $(ARGS)

dev: install  ## the server with everything it logs, started anew when a source file changes
	@exec .venv/bin/kith dev $(ARGS)

seed: install  ## a small world to look at; its people have a password that everybody can read: nothing for production
	@exec .venv/bin/kith seed $(ARGS)

worker: install  ## say who minds what has a time to keep: there is no worker beside the server
	@exec .venv/bin/kith timers $(ARGS)

reset: install  ## delete everything that is stored in KITH_VAR; asks first
	@exec .venv/bin/kith reset $(ARGS)

doctor: install  ## what is set, what runs, and what would break
	@exec .venv/bin/kith doctor $(ARGS)

docker-up: docker-env  ## build and start everything in containers: server, PostgreSQL, Valkey, S3, Prometheus, Grafana
	@$(COMPOSE) up --build --detach --wait $(ARGS)
	@at() { $(COMPOSE) port "$$@" | sed 's/^0\.0\.0\.0:/localhost:/; s/^127\.0\.0\.1:/localhost:/'; }; \
	echo "Kith is ready: http://$$(at server 8000)"; \
	echo "Grafana: http://$$(at grafana 3000) (admin, GRAFANA_PASSWORD in .env.docker); Prometheus: http://$$(at prometheus 9090)"; \
	case "$$($(COMPOSE) port server 8000)" in 127.*) \
		echo "Only this machine reaches it; KITH_BIND=0.0.0.0 in .env.docker opens it (docs/operations.md)." ;; esac

docker-down: docker-env  ## stop the containers; data stay (with ARGS=--volumes they go, too)
	@$(COMPOSE) --profile bus down $(ARGS)

docker-seed: docker-env  ## the small world in the containers' database, with the same password that everybody can read
	@$(COMPOSE) run --rm --env KITH_ENV=development server seed

docker-logs: docker-env  ## follow the server's log
	@$(COMPOSE) logs --follow server

docker-env:
	@sh docker/environment.sh
	@$(COMPOSE) version >/dev/null 2>&1 || \
		{ echo "This needs Docker with Compose 2.24 or newer, and '$(COMPOSE)' does not work here." >&2; exit 1; }

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

install:
	$(call installed,run)

install-test:
	$(call installed,test)
