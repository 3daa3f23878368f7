# What the targets do is in scripts/. PYTHON=/path/to/python3.12 names the interpreter for a new .venv.
.PHONY: help install setup run test lint docs bench fuzz attacks attacks-prove image lock

help:
	@echo "make setup    install, then be guided to a first answer"
	@echo "make run      set everything up, start the host, chat in this terminal; WHATSAPP=1 for WhatsApp, too"
	@echo "make install  only .venv/bin/nanoclaw"
	@echo "make image    the agents' image, or what bubblewrap has in its place"
	@echo "make test     set everything up for the tests, check, run them"
	@echo "make lint     ruff, pyright, import contracts"
	@echo "make docs     docs/reference/, from the code"
	@echo "make bench    measure; prints, stores, writes docs/reference/numbers.md"
	@echo "make attacks  what an agent could try, from inside every kind of sandbox that is here; one table"
	@echo "make attacks-prove  the same with one defence after the other taken away, and seen to be missed"
	@echo "make fuzz     millions of hostile inputs for every parser; FUZZ='--target events --inputs 1000' for some"
	@echo "make lock     choose new versions of everything that is pinned"

install:
	@sh scripts/install.sh "$$(WHATSAPP=$(WHATSAPP) sh scripts/kind.sh)"

setup: install
	@.venv/bin/nanoclaw setup

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
	@.venv/bin/python -m pytest -n 4 --dist worksteal

lint:
	@sh scripts/install.sh dev
	@sh scripts/lint.sh

docs:
	@sh scripts/install.sh dev
	@.venv/bin/python scripts/reference.py

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
	@.venv/bin/python -m tests.fuzz $(FUZZ)

attacks attacks-prove:
	@sh scripts/install.sh dev
	@sh scripts/engine.sh all
	@sh scripts/agents.sh tests
	@.venv/bin/python -m tests.$(subst -,.,$@)
