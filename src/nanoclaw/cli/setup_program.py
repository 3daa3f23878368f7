"""Guiding a program: flags answer, nobody is asked; what happens is told in lines of JSON, or of text."""

import json
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager

import anyio

from nanoclaw.channels.whatsapp.linking import Code, Linked, login_whatsapp
from nanoclaw.cli.auth_codex import log_in
from nanoclaw.cli.setup_flags import Flags
from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home, load_secrets, load_settings
from nanoclaw.errors import CredentialError, NanoclawError, SandboxError, UsageError
from nanoclaw.sandbox.toolkit import build_toolkit
from nanoclaw.setup.talk import Check, Finding, Option, Progress
from nanoclaw.signin.codex import sign_in_to_codex
from nanoclaw.signin.events import SignInFailed, SignInStarted
from nanoclaw.signin.programs import find_program

Tell = Callable[..., None]


class Program(Flags):
    """A `Talk`."""

    asks = False

    def __init__(self, values: Mapping[str, str], *, as_json: bool, key_fd: int | None = None) -> None:
        """Nothing is read before it is needed.

        Args:
            values: of the flags.
            as_json: an object a line instead of text.
            key_fd: the descriptor to read a key from, instead of standard input.
        """
        super().__init__(values)
        self._as_json = as_json
        self._key_fd = key_fd
        self._step = ""

    def begin(self, name: str, title: str, finding: Finding) -> None:
        """See `Talk.begin`."""
        self._step = name
        self._tell(f"→ {title}: {finding.what}", event="begun", what=finding.what)

    def end(self, name: str, title: str, finding: Finding) -> None:
        """See `Talk.end`."""
        self._step = name
        hint = f" ({finding.hint})" if finding.hint else ""
        self._tell(f"✓ {title}: {finding.what}{hint}", event="done", what=finding.what, hint=finding.hint)

    def say(self, text: str) -> None:
        """See `Talk.say`."""
        self._tell(text, event="said", what=text)

    def choose(self, flag: str, question: str, options: Sequence[Option], default: str | None = None) -> str:
        """See `Talk.choose`."""
        return self._answered(flag, question, self.given_choice(flag, options), default)

    def ask(self, flag: str, question: str, default: str | None = None, check: Check | None = None) -> str:
        """See `Talk.ask`."""
        return self._answered(flag, question, self.given_text(flag, check), default)

    def confirm(self, flag: str, question: str, *, default: bool) -> bool:
        """See `Talk.confirm`."""
        given = self.given(flag)
        return default if given is None else given == "yes"

    def secret(self, what: str) -> str:
        """See `Talk.secret`."""
        if self._key_fd is not None:
            with os.fdopen(self._key_fd, encoding="utf-8") as file:
                return file.readline().strip()
        if sys.stdin.isatty():
            raise UsageError(f"{what} is needed", "give it by standard input, or with --key-fd; never as an argument")
        return sys.stdin.readline().strip()

    @contextmanager
    def progress(self, title: str) -> Generator[Progress]:
        """See `Talk.progress`."""
        self._tell(f"{title} …", event="waiting", what=title)
        yield _Lines(self._tell)

    def sign_in_to_codex(self, home: Home, *, device: bool) -> None:
        """See `Talk.sign_in_to_codex`."""
        if self._as_json:
            anyio.run(_sign_in, home, device, self._tell)
        else:
            log_in(home, None, device=device)

    def claude_token(self, home: Home) -> str | None:
        """See `Talk.claude_token`."""
        return None

    def link_whatsapp(self, home: Home, phone: str | None) -> None:
        """See `Talk.link_whatsapp`."""
        anyio.run(_link, home, phone, self._tell)

    def fail(self, error: NanoclawError, again: str) -> None:
        """The last line of a guide that could not go on."""
        if self._as_json:
            self._tell("", event="failed", what=str(error), hint=error.hint, exit_code=error.exit_code, again=again)

    def finish(self) -> None:
        """The last line of a guide that came to its end."""
        if self._as_json:
            self._step = ""
            self._tell("", event="finished", what="everything is set up")

    def _answered(self, flag: str, question: str, given: str | None, default: str | None) -> str:
        if given is None and default is None:
            raise UsageError(f"this must be said by a flag: {question}", f"add --{flag}")
        return given if given is not None else str(default)

    def _tell(self, text: str, **event: object) -> None:
        shown = json.dumps({"step": self._step, **event}, ensure_ascii=False) if self._as_json else text
        print(shown, flush=True)


class _Lines:
    """A `talk.Progress`."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def line(self, text: str) -> None:
        self._tell(f"  {text}", event="progress", what=text)


async def _sign_in(home: Home, device: bool, tell: Tell) -> None:
    codex = await find_program("codex")
    if codex is None:
        async with aclosing(build_toolkit()) as lines:
            async for line in lines:
                tell(line, event="progress", what=line)
        codex = await find_program("codex")
    if codex is None:
        raise SandboxError("codex is not on this machine", "run `nanoclaw image build --engine bubblewrap`")
    issuer = load_secrets(home).get("CHATGPT_ISSUER_URL")
    async with aclosing(sign_in_to_codex(home, codex, SystemClock(), device=device, issuer=issuer)) as events:
        async for event in events:
            match event:
                case SignInStarted(url=url, code=code, expires_at=until):
                    tell("", event="sign_in", url=url, code=code, expires_at=iso(until))
                case SignInFailed(reason=reason, hint=hint):
                    raise CredentialError(reason, hint)
                case _:
                    pass


async def _link(home: Home, phone: str | None, tell: Tell) -> None:
    async with aclosing(login_whatsapp(home, load_settings(home), phone=phone)) as events:
        async for event in events:
            match event:
                case Code(kind=kind, text=text, seconds=seconds):
                    what = "Scan this as a QR code" if kind == "qr" else "Enter this code on the phone"
                    tell(f"{what}: {text}", event="link", kind=kind, code=text, seconds=seconds)
                case Linked(account=account):
                    tell(f"Linked: +{account.phone}", event="linked", phone=account.phone)
                case _:
                    pass
