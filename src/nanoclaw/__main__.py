"""`python -m nanoclaw` is `nanoclaw`."""

from nanoclaw.cli import main

main()
