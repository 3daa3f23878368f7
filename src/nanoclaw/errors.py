"""Every error of this project.

NanoclawError                 has a text for the user (`str`), a cure (`hint`) and an exit code
├─ ConfigError         2      a file that people edit is wrong: names the file, the key and what would be right
├─ UsageError          2      a command was called with something that cannot be
│  ├─ NotFoundError    2      the named group, run, task or chat does not exist
│  └─ ScheduleError    2      a schedule that cannot be: says what would be right
├─ StoreError          5      the database cannot be opened, is newer than this program, or is damaged
├─ HostError           4      the host is not running, is running already, or does not answer
├─ SandboxError        6      an engine, an image or a sandbox cannot be had; `retryable` if trying again can help
│  └─ MountError       6      a mount source is not what it must be (fail closed)
├─ CredentialError     7      nobody is signed in, or what is there cannot be used; `retryable` as above
├─ ChannelError               a chat platform
│  ├─ ChannelUnavailable      try again later; nothing was sent
│  ├─ DeliveryRejected        the platform will never take this one
│  └─ DeliveryUnknown         it may have been sent: never blindly repeated
├─ BackupError         8      an archive cannot be written, or is not what it must be
├─ MailboxError               a file from an agent that cannot be taken: `str` is what the agent is told
└─ WireError                  a line from a runner that is no event
"""


class NanoclawError(Exception):
    """Base: one sentence that says what is wrong, one that says what to do."""

    exit_code = 1
    retryable = False

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group, however deep; of any other exception, itself."""
    match error:
        case BaseExceptionGroup(exceptions=inner):
            return [leaf for part in inner for leaf in leaves(part)]
        case _:
            return [error]


class ConfigError(NanoclawError):
    """A file that people edit is wrong."""

    exit_code = 2


class UsageError(NanoclawError):
    """A command was called with something that cannot be."""

    exit_code = 2


class NotFoundError(UsageError):
    """The named group, run or chat does not exist."""


class StoreError(NanoclawError):
    """The database cannot be opened, is newer than this program, or is damaged."""

    exit_code = 5


class HostError(NanoclawError):
    """The host is not running, is running already, or does not answer."""

    exit_code = 4


class SandboxError(NanoclawError):
    """An engine, an image or a sandbox cannot be had."""

    exit_code = 6

    def __init__(self, what: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(what, hint)
        self.retryable = retryable


class MountError(SandboxError):
    """A mount source is not what it must be."""


class CredentialError(NanoclawError):
    """Nobody is signed in, or what is there cannot be used; `retryable` if it may be usable later by itself."""

    exit_code = 7

    def __init__(self, what: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(what, hint)
        self.retryable = retryable


class ChannelError(NanoclawError):
    """A chat platform refused or failed."""


class ChannelUnavailable(ChannelError):
    """Nothing was sent; try again later."""

    retryable = True


class DeliveryRejected(ChannelError):
    """The platform will never take this one."""


class DeliveryUnknown(ChannelError):
    """It may have been sent: never blindly repeated."""


class ScheduleError(UsageError):
    """A schedule that cannot be."""


class BackupError(NanoclawError):
    """An archive cannot be written, or is not what it must be."""

    exit_code = 8


class MailboxError(NanoclawError):
    """A file from an agent that cannot be taken; `str` is what the agent is told."""


class WireError(NanoclawError):
    """A line from a runner that is no event."""
