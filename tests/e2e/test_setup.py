"""The guide from an empty directory to the first answer, as a newcomer meets it: at a terminal, with breaks."""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest

from nanoclaw.config import Home, load_settings
from nanoclaw.credentials.accounts import describe
from nanoclaw.groups import load_groups
from nanoclaw.selftest import echo
from nanoclaw.testing.models import ScriptedAnthropic, ScriptedOpenAI, say
from tests.e2e.terminal import AtTerminal, at_terminal
from tests.fakes.whatsapp import Account, FakeWhatsApp, Peer

pytestmark = pytest.mark.e2e

_BROKEN = ("podman", "docker", "systemctl")
"""What does not work on this newcomer's machine: it has bubblewrap alone, and nothing that starts services."""
_SCRIPT = """\
#!{python}
import sys
sys.executable = {executable!r}
from nanoclaw.cli import main
main()
"""


class Machine:
    """A newcomer's machine: an empty home directory, scripted models for its far end."""

    def __init__(self, directory: Path, openai: ScriptedOpenAI, anthropic: ScriptedAnthropic) -> None:
        self.user = directory / "user"
        self.home = Home(self.user / "nanoclaw")
        self.openai = openai
        self.anthropic = anthropic
        self._programs = directory / "bin"
        self.user.mkdir()
        self._programs.mkdir()
        for name in _BROKEN:
            self.place(name, "#!/bin/sh\necho 'cannot do that here' >&2\nexit 125\n")
        self.install()

    def install(self, executable: str = sys.executable) -> None:
        """Put `nanoclaw` on the PATH; `executable` is what it takes for Python."""
        self.place("nanoclaw", _SCRIPT.format(python=sys.executable, executable=executable))

    def place(self, name: str, text: str) -> None:
        """Put a program on the PATH."""
        (self._programs / name).write_text(text, encoding="utf-8")
        (self._programs / name).chmod(0o755)

    @property
    def far_ends(self) -> dict[str, str]:
        """Where the scripted models and their sign-in are."""
        return {
            "OPENAI_BASE_URL": self.openai.base_url,
            "ANTHROPIC_BASE_URL": self.anthropic.base_url,
            "CHATGPT_BASE_URL": self.openai.chatgpt_base_url,
            "CHATGPT_ISSUER_URL": self.openai.issuer_url,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of everything that is started here."""
        return {
            "HOME": str(self.user),
            "PATH": f"{self._programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "XDG_DATA_HOME": os.environ.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser()),
            **self.far_ends,
        }

    def at_terminal(self, *arguments: str, columns: int = 100) -> AbstractContextManager[AtTerminal]:
        """`nanoclaw setup …` as a person runs it."""
        return at_terminal(("nanoclaw", "setup", *arguments), self.environment, columns)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`nanoclaw …` as a program runs it that listens."""
        return subprocess.Popen(("nanoclaw", *arguments), stdout=subprocess.PIPE, text=True, env=self.environment)

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`nanoclaw …` as a script runs it."""
        command = (str(self._programs / "nanoclaw"), *arguments)
        done = subprocess.run(
            command, capture_output=True, text=True, input=stdin, env=self.environment, timeout=90, check=False
        )
        assert done.returncode == code, f"{arguments} {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture
def machine(tmp_path: Path) -> Generator[Machine]:
    with ScriptedOpenAI(say(echo)) as openai, ScriptedAnthropic(say(echo)) as anthropic:
        openai.sign_in.pending_polls = 0
        yield Machine(tmp_path, openai, anthropic)


def answer(terminal: AtTerminal, question: str, text: str) -> None:
    """Wait for a question, then type the answer."""
    terminal.read_until(question)
    terminal.type(f"{text}\r")


@dataclass(frozen=True, slots=True)
class Ask:
    """What the guide asks, and what this newcomer says."""

    question: str
    text: str


Steps = Sequence[Sequence[Ask]]
LOCAL: Final[Steps] = (
    (Ask(r"Which one\? \[.*/user/nanoclaw\]: ", ""),),
    (Ask(r"Which sandbox\?[^?]*Number \[1\]: ", ""),),
    (
        Ask(r"OpenAI Codex\s+Number: ", "2"),
        Ask(r"by a code: [^?]*every answer is charged\s+Number: ", "1"),
    ),
    (Ask(r"called\? \[Andy\]: ", "Ada"), Ask(r"Which one\? \[UTC\]: ", "Europe/Berlin")),
    (Ask(r"Connect WhatsApp\? \(yes/no\) \[yes\]: ", "no"),),
)


class Newcomer:
    """Answers the guide at a terminal, from a test that waits for other things, too."""

    def __init__(self, terminal: AtTerminal) -> None:
        self.terminal = terminal

    async def see(self, pattern: str) -> re.Match[str]:
        """Wait until this is shown."""
        return await anyio.to_thread.run_sync(self.terminal.read_until, pattern)

    async def say(self, ask: Ask) -> None:
        """Answer a question."""
        await anyio.to_thread.run_sync(answer, self.terminal, ask.question, ask.text)

    async def leave(self, how: str) -> None:
        """Break it off."""
        match how:
            case "Ctrl-C":
                async with anyio.create_task_group() as pressing:
                    pressing.start_soon(self._press_ctrl_c)
                    await self.see(r"`nanoclaw setup` goes on here")
                    pressing.cancel_scope.cancel()
                assert await anyio.to_thread.run_sync(self.terminal.end) == 1
            case "hang-up":
                self.terminal.process.send_signal(signal.SIGHUP)
            case _:
                self.terminal.process.kill()

    async def _press_ctrl_c(self) -> None:
        """And again after a while, as a person would: Python does not notice one that comes in the instant between a
        question and the wait for its answer."""
        while True:
            self.terminal.type("\x03")
            await anyio.sleep(_PATIENCE_SECONDS)


class Phones:
    """WhatsApp, with the assistant's own account, and somebody who writes to it."""

    def __init__(self, wa: FakeWhatsApp, me: Peer, assistant: Account) -> None:
        self.wa = wa
        self.me = me
        self.assistant = assistant
        self.base = wa.create_group("Base", by=me.account, members=[assistant])
        self.family = wa.create_group("Family & friends", by=me.account, members=[assistant])

    async def enter(self, code: str) -> None:
        """Type a code on the assistant's phone."""
        await self.wa.enter_code(code, self.assistant)

    async def greet(self) -> str:
        """Write in the main group; the answer."""
        await self.me.send_text(self.base, "good morning")
        return (await self.me.next_message(chat=self.base.jid, kind="text")).text


@asynccontextmanager
async def phones(machine: Machine, directory: Path) -> AsyncGenerator[Phones]:
    async with FakeWhatsApp(directory / "wa") as wa:
        shim = directory / "python"  # whatever the guide and its host start as a module is led to the fake
        shim.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(wa.launcher)} "$@"\n', encoding="utf-8")
        shim.chmod(0o755)
        machine.install(str(shim))
        yield Phones(wa, await wa.peer(wa.account("15550002", "Me")), wa.account("15550001", "Ada"))


WITH_WHATSAPP: Final[Steps] = (
    *LOCAL[:4],
    (
        Ask(r"Connect WhatsApp\? \(yes/no\) \[yes\]: ", ""),
        Ask(r"number of its own[^?]*Number: ", "1"),
        Ask(r"How will you link it\?[^?]*Number \[1\]: ", "2"),
        Ask(r"The phone's number, with country code: ", "+1 555 0001"),
    ),
    (
        Ask(r"Which chat shall be main\?[^?]*Number \[1\]: ", "base"),
        Ask(r"or: everybody \[everybody\]: ", "+1 555-0002"),
    ),
    (Ask(r"or: none \[none\]: ", "fam"), Ask(r"Who thinks in Family & friends\?[^?]*Number \[2\]: ", "")),
)
WRONG: Final = {
    "2": (("3", "Please type a number from 1 to 2"),),
    "Ada": (("two words", "without @"),),
    "Europe/Berlin": (("Berlin", r"did you mean Europe/Berlin\?"),),
    "+1 555 0001": (("my phone", r"write it with its country code: \+49"),),
    "fam": (("nobody", "nobody means no group"),),
}
"""By the right answer: wrong ones, and what they are told."""
_LINK: Final = 4  # the step at whose end a code is to be entered
_CODE: Final = r"Link with phone number instead\. Enter this code there:\s+(\w{4}-\w{4})"
_WAITING: Final = r"Now write something to the assistant, in WhatsApp: Base\."
_PATIENCE_SECONDS: Final = 10.0
_BREAKS: Final = itertools.cycle(("Ctrl-C", "kill", "hang-up"))


def check_whatsapp(machine: Machine, there: Phones) -> None:
    """What came of it."""
    settings = load_settings(machine.home)
    assert settings.whatsapp.enabled
    assert not settings.whatsapp.shared_number
    assert settings.owners == ("15550002",)
    groups = load_groups(machine.home.registered_groups)
    assert {jid: (group.folder, group.provider, group.trigger) for jid, group in groups.items()} == {
        there.base.jid: ("main", "codex", "@Ada"),
        there.family.jid: ("family-friends", "codex", "@Ada"),
    }


@pytest.mark.anyio
async def test_a_newcomer_gets_to_the_first_answer_in_whatsapp(machine: Machine, tmp_path: Path) -> None:
    """With a wrong answer here and there, which is told and asked about again."""
    async with phones(machine, tmp_path) as there:
        with machine.at_terminal() as terminal:
            newcomer = Newcomer(terminal)
            for number, step in enumerate(WITH_WHATSAPP):
                for ask in step:
                    for wrong, told in WRONG.get(ask.text, ()):
                        await newcomer.say(Ask(ask.question, wrong))
                        await newcomer.see(told)
                    await newcomer.say(ask)
                if number == _LINK:
                    await there.enter((await newcomer.see(_CODE))[1])
            await newcomer.see(_WAITING)
            assert await there.greet() == "You said: good morning"
            await newcomer.see(r"Ada: You said: good morning")
            await newcomer.see(r"First answer: came in \d+\.\d s")
            assert await anyio.to_thread.run_sync(terminal.end) == 0
        assert "Not podman: podman: cannot do that here" in terminal.text
        check_whatsapp(machine, there)
        with machine.at_terminal(columns=40) as again:
            assert again.end() == 0
        assert again.text.count("✓") == 10
        assert "(yes/no)" not in again.text
        assert "Number" not in again.text


@pytest.mark.anyio
@pytest.mark.timeout(300)  # a dozen and a half starts of the program
async def test_it_goes_on_wherever_it_was_broken_off(machine: Machine, tmp_path: Path) -> None:
    """At every question: the answers before it in its step are given, then it ends in one way or another."""
    async with phones(machine, tmp_path) as there:
        for number, step in enumerate(WITH_WHATSAPP):
            after = WITH_WHATSAPP[number + 1][0].question if number + 1 < len(WITH_WHATSAPP) else _WAITING
            stops = [ask.question for ask in step[1:]] + [_CODE] * (number == _LINK) + [after]
            for answered, stop in enumerate(stops, 1):
                with machine.at_terminal() as terminal:
                    newcomer = Newcomer(terminal)
                    for ask in step[:answered]:
                        await newcomer.say(ask)
                    if stop == after and number == _LINK:
                        await there.enter((await newcomer.see(_CODE))[1])
                    await newcomer.see(stop)
                    await newcomer.leave(next(_BREAKS))
        with machine.at_terminal() as terminal:
            newcomer = Newcomer(terminal)
            await newcomer.see(_WAITING)
            assert await there.greet() == "You said: good morning"
            await newcomer.see(r"First answer: came in")
            assert await anyio.to_thread.run_sync(terminal.end) == 0
        assert "Number" not in terminal.text
        check_whatsapp(machine, there)


@pytest.mark.anyio
async def test_a_program_links_whatsapp_and_main_is_the_chat_with_the_owner(machine: Machine, tmp_path: Path) -> None:
    flags = ("--engine", "bubblewrap", "--provider", "codex", "--sign-in", "device", "--whatsapp", "--number", "own")
    chat = ("--phone", "+15550001", "--main", "+1 555 0002")
    async with phones(machine, tmp_path) as there:
        process = machine.start("setup", "--json", *flags, *chat)
        assert process.stdout is not None
        with process:
            while event := json.loads(await anyio.to_thread.run_sync(process.stdout.readline)):
                if event["event"] == "link":
                    await there.enter(event["code"])
                if event.get("what") == "Waiting for your message and its answer":
                    break
            await there.me.send_text(there.assistant, "good evening")
            told = await there.me.next_message(kind="text")
            last = json.loads((await anyio.to_thread.run_sync(process.stdout.read)).splitlines()[-1])
    assert told.text == "You said: good evening"
    assert (last["event"], process.returncode) == ("finished", 0)
    (main,) = load_groups(machine.home.registered_groups).values()
    assert (main.jid, main.folder) == ("15550002@s.whatsapp.net", "main")


def events(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def test_a_script_is_told_at_once_everything_that_it_must_say(machine: Machine) -> None:
    done = machine.run("setup", "--yes", "--whatsapp", code=2)
    for flag in ("--provider claude or codex", "--sign-in device or api-key", "--number own or shared", "--main self"):
        assert flag in done.stderr
    assert "`nanoclaw setup` goes on here" in done.stderr
    assert not machine.home.root.exists()


def test_a_script_sets_everything_up_with_a_key_from_its_input(machine: Machine) -> None:
    flags = ("--yes", "--json", "--engine", "bubblewrap", "--provider", "claude", "--sign-in", "api-key")
    done = machine.run("setup", *flags, "--name", "Ada", stdin="sk-ant-test-0123456789\n")
    told = events(done.stdout)
    steps = [event["step"] for event in told if event["event"] == "done"]
    assert steps == [
        "home", "engine", "image", "sign-in", "name", "whatsapp", "main", "groups", "service", "answer",
    ]  # fmt: skip
    assert told[-1]["event"] == "finished"
    assert any("You said: Hello!" in event.get("what", "") for event in told)
    assert "sk-ant-test" not in done.stdout + done.stderr
    assert "sk-ant-test" in machine.home.env.read_text(encoding="utf-8")
    kept = machine.home.run / "setup.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "sk-ant-test" not in kept.read_text(encoding="utf-8")
    assert machine.run("setup", "--yes").stdout.count("✓") == 10


def test_a_refusal_is_told_with_the_way_on(machine: Machine) -> None:
    flags = ("--json", "--engine", "bubblewrap", "--provider", "claude", "--sign-in", "api-key")
    told = events(machine.run("setup", *flags, stdin="not a key\n", code=7).stdout)
    assert (told[-1]["event"], told[-1]["exit_code"], told[-1]["again"]) == ("failed", 7, "nanoclaw setup")
    assert told[-1]["hint"]


def test_answers_may_come_through_a_pipe(machine: Machine) -> None:
    said = machine.run("setup", "--sign-in", "device", stdin="\n\n2\nAda\nEurope/Berlin\nno\n").stdout
    assert "What shall it be called? [Andy]: Ada" in said
    assert "✓ First answer" in said
    assert "\x1b" not in said
    settings = load_settings(machine.home)
    assert (settings.assistant_name, settings.timezone) == ("Ada", "Europe/Berlin")
    assert settings.sandbox.engine == "bubblewrap"
    (main,) = load_groups(machine.home.registered_groups).values()
    assert (main.folder, main.trigger, main.provider) == ("main", "@Ada", "codex")
    assert [(each.provider, each.method) for each in describe(machine.home).accounts] == [("codex", "chatgpt")]


def test_a_pipe_that_ends_too_early_is_told_what_was_asked(machine: Machine) -> None:
    done = machine.run("setup", stdin="\n\n", code=2)
    assert "there is nobody to ask: Number" in done.stderr
    assert "`nanoclaw setup` goes on here" in done.stderr


_SYSTEMCTL: Final = """\
#!/bin/sh
# Stands for the user's systemd: keeps what it is told, starts what the unit says.
echo "$@" >>{log}
unit=$HOME/.config/systemd/user/nanoclaw.service
case "$*" in
  *Version*) echo 252 ;;
  *ActiveState*)
    [ ! -e {pid} ] || echo ActiveState=active
    [ ! -e $unit ] || echo UnitFileState=enabled ;;
  *restart*) (eval "exec $(sed -n 's/^ExecStart=//p' $unit)" </dev/null >{log}.host 2>&1 & echo $! >{pid}) ;;
  *disable*) kill "$(cat {pid})"; rm {pid} ;;
esac
"""


def test_a_service_is_installed_answers_and_goes(machine: Machine, tmp_path: Path) -> None:
    log, pid = tmp_path / "told", tmp_path / "pid"
    machine.place("systemctl", _SYSTEMCTL.format(log=log, pid=pid))
    machine.run("init")
    machine.home.env.write_text("".join(f"{name}={url}\n" for name, url in machine.far_ends.items()))
    flags = ("--json", "--engine", "bubblewrap", "--provider", "codex", "--sign-in", "device", "--service")
    try:
        told = events(machine.run("setup", *flags).stdout)
        assert "nanoclaw.service runs" in [event.get("what") for event in told]
        assert told[-1]["event"] == "finished"
        (sign_in,) = (event for event in told if event["event"] == "sign_in")
        assert (sign_in["url"], sign_in["code"]) == (f"{machine.openai.issuer_url}/codex/device", "ABCD-1234")
        state = json.loads(machine.run("service", "status", "--json").stdout)
        assert (state["installed"], state["running"], state["lingers"]) == (True, True, False)
        assert "loginctl enable-linger" in machine.run("service", "status").stdout
        unit = Path(state["path"]).read_text(encoding="utf-8")
        assert f'"--home" "{machine.home.root}" "run"' in unit
        assert "sk-" not in unit
    finally:
        machine.run("service", "uninstall")
    assert not Path(state["path"]).exists()
    assert "there was no nanoclaw" in machine.run("service", "uninstall").stdout
    asked = log.read_text(encoding="utf-8")
    order = ["--user daemon-reload", "--user enable nanoclaw", "--user restart nanoclaw", "--user disable --now"]
    assert [asked.index(each) for each in order] == sorted(asked.index(each) for each in order)


def test_without_a_service_manager_something_else_is_named(machine: Machine) -> None:
    machine.run("init")
    done = machine.run("service", "install", code=4)
    assert "there is no service manager for this user here: cannot do that here" in done.stderr
    assert "@reboot" in done.stderr


def test_a_host_that_crashes_again_and_again_stops_itself(machine: Machine) -> None:
    machine.run("init")
    machine.home.settings.write_text("[page]\nport = 0\n", encoding="utf-8")  # the usual one may be another test's
    machine.home.page_token.mkdir()  # where a file is to be: nothing that the host foresees
    machine.run("run", code=1)
    count = machine.home.run / "lives.json"
    count.write_text(json.dumps(json.loads(count.read_text(encoding="utf-8")) * 5), encoding="utf-8")
    refused = machine.run("run", code=4).stderr
    assert "the host has stopped itself: it ended 5 times since" in refused
    assert "nanoclaw run --anyway" in refused
    assert "problem: it ended 5 times" in machine.run("status").stdout
    assert "IsADirectoryError" in machine.run("run", "--anyway", code=1).stderr
    assert "IsADirectoryError" in (machine.home.logs / "nanoclaw.log").read_text(encoding="utf-8")
