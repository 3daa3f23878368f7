"""Taking over an existing NanoClaw (the TypeScript program): groups, memory, sessions, messages and tasks.

`reading` collects what is there, in either of its two shapes; `plan` decides what becomes of it; `carrying_out` does
it. Nothing is changed in the old directory.
"""

from nanoclaw.takeover.carrying_out import carry_out
from nanoclaw.takeover.plan import Plan, make_plan
from nanoclaw.takeover.reading import read_predecessor

__all__ = ["Plan", "carry_out", "make_plan", "read_predecessor"]
