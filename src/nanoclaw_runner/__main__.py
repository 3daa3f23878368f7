"""`python -m nanoclaw_runner`"""

from nanoclaw_runner.main import main

main()
