# What the targets do is in scripts/. PYTHON=/path/to/python3.12 names the interpreter for a new .venv.
.PHONY: help install run test lint bench fuzz image lock

help:
	@echo "make run      set everything up, start the host, chat in this terminal"
	@echo "make install  only .venv/bin/nanoclaw"
	@echo "make image    the agents' image, or what bubblewrap has in its place"
	@echo "make test     set everything up for the tests, check, run them"
	@echo "make lint     ruff, pyright, import contracts"
	@echo "make bench    measure; prints and stores under bench/results/"
	@echo "make fuzz     a million hostile files through a mailbox"
	@echo "make lock     choose new versions of everything that is pinned"

install:
	@sh scripts/install.sh host

run: install
	@sh scripts/engine.sh any
	@sh scripts/agents.sh
	@.venv/bin/nanoclaw up

image: install
	@sh scripts/engine.sh any
	@sh scripts/agents.sh

test:
	@sh scripts/install.sh dev
	@sh scripts/engine.sh all
	@sh scripts/agents.sh tests
	@sh scripts/lint.sh
	@.venv/bin/python -m pytest

lint:
	@sh scripts/install.sh dev
	@sh scripts/lint.sh

bench:
	@sh scripts/install.sh dev
	@sh scripts/engine.sh all
	@sh scripts/agents.sh tests
	@.venv/bin/python -m bench

lock:
	@sh scripts/install.sh dev
	@sh scripts/lock.sh

fuzz:
	@sh scripts/install.sh dev
	@.venv/bin/python -m tests.fuzz
