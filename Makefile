# The two commands are `make demo` and `make test`; both install what is missing first (tools/setup).
PY = .venv/bin/python

help:
	@echo 'make demo    the main job on real traffic, in network namespaces (root)'
	@echo 'make test    every test (root)'
	@echo 'make check   format, lint, types, tests that need no root: seconds'
	@echo 'make lab     the network of the demo, to play with; `make lab-down` removes it (root)'
	@echo 'make bench   ns per packet against two floors (root); `make bench-compare REV=v0.1` beside another'
	@echo 'make bench-checks  ten thousand checks, from a result to the tables, and scrapes (root): two minutes'
	@echo 'make bench-cli   how long commands take, and what they import'
	@echo 'make man     the manual pages, into .cache/man'
	@echo 'make fuzz    ten million packets through the program and its model (root): minutes'
	@echo 'make consistency  500 held flows and 200 new ones a second through every change (root): minutes'
	@echo 'make predictions  what explain and plan say against what comes: 10,000 packets, 1,000 changes (root): minutes'
	@echo 'make systemd-check  the units as systemd reads them, and how much they may do'
	@echo 'make format  let ruff and clang-format rewrite the sources'

demo:
	@tools/setup
	@$(PY) -m tools.demo

test:
	@tools/setup test
	@[ "$$(id -u)" = 0 ] || { echo 'make test needs root: it loads XDP programs and makes network namespaces' >&2; exit 2; }
	$(PY) -m pytest -q -n 3 --dist loadfile -m 'not alone' tests
	$(PY) -m pytest -q -m alone tests

check:
	@tools/setup
	.venv/bin/ruff check -q .
	.venv/bin/ruff format -q --check .
	.venv/bin/clang-format --dry-run --Werror $(C_FILES)
	.venv/bin/mypy --no-error-summary
	$(PY) -m pytest -q -n 2 -m 'not root and not slow' tests

format:
	@tools/setup
	.venv/bin/ruff check -q --fix .
	.venv/bin/ruff format -q .
	.venv/bin/clang-format -i $(C_FILES)

lab:
	@tools/setup
	@$(PY) -m tools.lab up

lab-down:
	@$(PY) -m tools.lab down

bench:
	@tools/setup
	@mkdir -p .cache
	@$(PY) -m tools.bench --json .cache/bench.json
	@echo "every measurement: .cache/bench.json"

bench-compare:
	@tools/setup
	@[ -n "$(REV)" ] || { echo 'say which revision: make bench-compare REV=HEAD~1' >&2; exit 2; }
	@$(PY) -m tools.bench.compare "$(REV)"

bench-checks:
	@tools/setup
	@$(PY) -m tools.bench_checks
	@$(PY) -m tools.bench_change
	@$(PY) -m tools.bench_metrics

bench-cli:
	@tools/setup
	@$(PY) -m tools.bench_cli

man:
	@tools/setup
	@$(PY) -m tools.man .cache/man

fuzz:
	@tools/setup
	@$(PY) -m tools.fuzz --packets 10000000 --configs 240

consistency:
	@tools/setup
	@$(PY) -m tools.consistency

predictions:
	@tools/setup
	@$(PY) -m tools.explain_check --packets 10000
	@$(PY) -m tools.plan_check --changes 1000

systemd-check:
	@tools/setup
	@$(PY) -m tools.systemd_check

C_FILES = $(shell git ls-files '*.c' '*.h' | grep -v shim/)

.PHONY: help demo test check format lab lab-down bench bench-compare bench-checks bench-cli man fuzz consistency predictions systemd-check
