"""What things are called: the types of names, addresses and numbers."""

from typing import Final, NewType

Jid = NewType("Jid", str)
"""A chat's address on its platform, e.g. `120363…@g.us` or `local:main`."""
Folder = NewType("Folder", str)
"""A group's identity: its directory's name below `groups/`."""
Seq = NewType("Seq", int)
"""Our own arrival number of a message; orders everything."""
RunId = NewType("RunId", int)
TaskId = NewType("TaskId", str)

MAIN_FOLDER: Final = Folder("main")
