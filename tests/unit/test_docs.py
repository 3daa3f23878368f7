"""What the documents say, held against the code."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints
from zoneinfo import ZoneInfo

import pytest
import typer.main
from bench import report

from nanoclaw import errors, wire
from nanoclaw.cli import app
from nanoclaw.cli.network import decision_json, policy_json
from nanoclaw.cli.runs import run_json
from nanoclaw.config import SECRET_NAMES, Home, Settings, load_settings
from nanoclaw.control import Control, reply_json
from nanoclaw.credentials.accounts import Account, GroupSignIn, SignIns
from nanoclaw.errors import MailboxError, MountError, NanoclawError
from nanoclaw.events import parse_event
from nanoclaw.gateway.usual import USUAL_HOSTS
from nanoclaw.groups import parse_groups
from nanoclaw.intake import take_in
from nanoclaw.ipc.commands import VERBS
from nanoclaw.ipc.protocol import error_answer, parse
from nanoclaw.model import (
    AdditionalMount,
    Folder,
    InboundMessage,
    Jid,
    Message,
    NetworkCounts,
    NetworkDecision,
    NetworkReason,
    RegisteredGroup,
    Seq,
)
from nanoclaw.prompts import messages_prompt
from nanoclaw.sandbox.extra_mounts import extra_mounts
from nanoclaw.status import groups_status, stored_status
from nanoclaw.store import outbox, runs, tasks
from nanoclaw.store.database import connect, transaction
from nanoclaw.taskbook import Draft, add
from nanoclaw.taskview import task_json
from nanoclaw_runner.verbs import VERBS as AGENTS_VERBS
from tests.unit.generated import reference

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src"
PAGES: Final = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
FAMILY: Final = RegisteredGroup(
    jid=Jid("local:family"), name="Family", folder=Folder("family"), trigger="@Andy", added_at=""
)

_BLOCK: Final = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`([^`]+)`")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What follows the heading, to the next one of the same level or a higher one."""
    level = next(line.split()[0] for line in text.splitlines() if re.fullmatch(rf"#+ {re.escape(title)}", line))
    rest = text.split(f"\n{level} {title}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The tables' rows as cells, without their heads."""
    tables = re.findall(r"^\|.*\n\|[-|]+\|\n((?:\|.*(?:\n|$))*)", text, re.MULTILINE)
    return [[cell.strip() for cell in line[1:-1].split("|")] for table in tables for line in table.splitlines()]


def blocks(language: str, kind: str | None = None) -> list[str]:
    """Every fenced block of that language, in all pages, of that kind if one is named."""
    found = [match.groups() for path in PAGES for match in _BLOCK.finditer(path.read_text(encoding="utf-8"))]
    return [body for tongue, tag, body in found if tongue == language and kind in (None, tag)]


def example(kind: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    (body,) = blocks("json", kind)
    return json.loads(body)


def codes(text: str) -> set[str]:
    """What stands between backticks outside of fenced blocks."""
    return set(_CODE.findall(_BLOCK.sub("", text)))


def settings() -> dict[str, object]:
    """Every key with its default, those of sections with a dot."""
    found: dict[str, object] = {}
    for field in fields(Settings):
        value = getattr(Settings(), field.name)
        inner = fields(value) if is_dataclass(value) else ()
        found.update({f"{field.name}.{each.name}": getattr(value, each.name) for each in inner} or {field.name: value})
    return found


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:  # noqa: ANN401
    """Every command by its whole name, with its options."""
    command = command or typer.main.get_command(app)
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from commands(child, (*path, name))
        else:
            options = {option for parameter in child.params for option in (*parameter.opts, *parameter.secondary_opts)}
            yield " ".join(("nanoclaw", *path, name)), {option for option in options if option.startswith("--")}


def test_the_table_of_settings_has_every_key_with_its_default_and_what_it_means():
    listed = rows(section(page("docs/reference/configuration.md"), "`nanoclaw.toml`"))
    assert {row[0].strip("`"): row[2].strip("`") for row in listed} == {
        key: json.dumps(default) for key, default in settings().items()
    }
    assert [row[0] for row in listed if not row[3]] == []


def test_every_secret_is_named():
    listed = {row[0].strip("`"): row[1] for row in rows(section(page("docs/reference/configuration.md"), "`.env`"))}
    assert tuple(listed) == SECRET_NAMES
    assert all(listed.values())


def test_the_settings_shown_are_accepted(tmp_path: Path):
    for body in blocks("toml"):
        (tmp_path / "nanoclaw.toml").write_text(body, encoding="utf-8")
        assert load_settings(Home(tmp_path)) != Settings()


def test_every_command_has_a_section_with_its_options_and_no_other_has():
    text = page("docs/reference/cli.md")
    known = dict(commands())
    assert {title.strip("`") for title in _HEADING.findall(text)} == {*known, "The command line", "Exit codes"}
    for name, options in known.items():
        assert options - {"--help"} <= codes(section(text, f"`{name}`")), name


def test_what_is_said_of_commands_is_said_of_commands_and_options_that_there_are():
    text = section(page("docs/SPEC.md"), "5. Command line")
    known = dict(commands())
    assert {title.strip("`") for title in _HEADING.findall(text)} <= known.keys()
    every = {option for options in known.values() for option in options} | {"--home", "--version", "--help"}
    said = {part for code in codes(text) for part in re.findall(r"--[a-z][a-z-]*", code)}
    assert said <= every


def test_every_exit_code_is_listed():
    listed = {row[0] for row in rows(section(page("docs/SPEC.md"), "5. Command line").split("\n### ")[0])}
    assert listed == {row[0] for row in rows(section(page("docs/reference/cli.md"), "Exit codes"))}
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, NanoclawError)]
    assert listed == {"0", "3", *(str(each.exit_code) for each in classes)}


def test_every_request_of_the_control_socket_is_listed():
    nothing: Any = None
    routes: Any = Control(nothing, nothing, nothing).application().routes
    served = {f"{method} {route.path}" for route in routes for method in route.methods - {"HEAD"}}
    table = rows(section(page("docs/SPEC.md"), "6. Control interface"))
    assert served == {row[0].split("`")[1].split("?")[0] for row in table}


def test_the_wire_is_listed_whole():
    text = page("docs/SPEC.md")
    kinds = [row[0].strip("`") for row in rows(section(text, "Kinds of failure"))]
    assert kinds == list(get_args(wire.FailureKind))
    hints = [get_type_hints(event, include_extras=True) for event in get_args(wire.RunnerEvent)]
    table = {row[0].strip("`"): row[1] for row in rows(section(text, "Events"))}
    assert list(table) == [get_args(hint["type"])[0] for hint in hints]
    for hint in hints:
        assert hint.keys() - {"type"} == codes(table[get_args(hint["type"])[0]])
    listed = {name for row in rows(section(text, "ContainerInput")) for name in codes(row[0])}
    assert listed == get_type_hints(wire.ContainerInput).keys()


def test_the_verbs_are_listed_with_who_may_use_them_and_their_fields():
    text = page("docs/SPEC.md")
    listed = {row[0].strip("`"): row[2:5] for row in rows(section(text, "Verbs"))}
    yes = {True: "yes", False: "no"}
    assert listed == {name: [yes[verb.own], yes[verb.other], yes[verb.main]] for name, verb in VERBS.items()}
    named: dict[str, set[str]] = {}
    verb = ""
    for row in rows(section(text, "Fields")):
        verb = row[0].strip("`") or verb
        named[verb] = named.get(verb, set()) | codes(" ".join(row[1:]))
    for name, entry in VERBS.items():
        inputs = {field.alias or key for key, field in entry.model.model_fields.items() if "claimed" not in key}
        assert inputs <= named[name], name


def test_what_agents_have_for_their_shell_and_as_tools_is_listed():
    listed = [[cell.strip("`") for cell in row] for row in rows(page("docs/SPEC.md").split("<!-- nanoclaw-ipc -->")[1])]
    types = {verb.command: f"none: reads `{verb.shows}" if verb.shows else verb.type for verb in AGENTS_VERBS}
    assert listed[: len(types)] == [[verb.command, verb.tool, types[verb.command]] for verb in AGENTS_VERBS]
    assert listed[len(types)][0] == "0"  # the table has ended


def test_every_example_in_json_is_json():
    for body in blocks("json"):
        json.loads(body)
    for body in blocks("jsonl"):
        for line in body.splitlines():
            json.loads(line)


def test_the_files_shown_for_a_mailbox_are_accepted_and_the_wrong_ones_refused():
    shown = [parse(body.encode()).verb for body in blocks("json", "mailbox")]
    assert set(shown) == VERBS.keys()
    for body in blocks("json", "mailbox-refused"):
        with pytest.raises(MailboxError):
            parse(body.encode())


def test_the_answers_shown_are_those_that_are_given():
    right, wrong = (json.loads(body) for body in blocks("json", "answer"))
    assert right["ok"] is True
    with pytest.raises(MailboxError) as refusal:
        parse(b'{"type": "message"}')
    assert wrong == error_answer(str(refusal.value))


def test_the_events_shown_are_events():
    (body,) = blocks("jsonl", "events")
    assert [type(parse_event(line.encode())).__name__.lower() for line in body.splitlines()] == [
        "started", "activity", "usagereport", "output", "done", "failed",
    ]  # fmt: skip


def test_the_container_input_shown_is_one():
    shown = example("ContainerInput")
    assert wire.ContainerInput.__required_keys__ <= shown.keys() <= get_type_hints(wire.ContainerInput).keys()
    assert shown["protocol"] == wire.PROTOCOL


def test_the_groups_file_shown_is_accepted():
    (body,) = blocks("json", "groups")
    assert {group.folder for group in parse_groups(body, Path("groups")).values()} == {"main", "family"}


def test_the_allowlist_shown_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (body,) = blocks("json", "allowlist")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "nanoclaw").mkdir(parents=True)
    (tmp_path / "config" / "nanoclaw" / "mount-allowlist.json").write_text(body, encoding="utf-8")
    wanted = AdditionalMount(host_path=str(tmp_path), container_path="x")
    with pytest.raises(MountError, match="below no allowed root"):
        extra_mounts(Home(tmp_path / "home"), replace(FAMILY, additional_mounts=(wanted,)), ())


def test_the_shapes_for_programs_have_the_fields_that_are_given(tmp_path: Path):
    db = connect(tmp_path / "n.db", NOW)
    hello = InboundMessage(
        channel="local", account="local", chat=FAMILY.jid, chat_name="family", sender="local:Bob", sender_name="Bob",
        ext_id="1", text="@Andy hello", sent_at=NOW,
    )  # fmt: skip
    draft = Draft(
        folder=FAMILY.folder, prompt="x", schedule_type="cron", schedule_value="0 9 * * 1", timezone="UTC",
        context_mode="group", missed="coalesce",
    )  # fmt: skip
    with transaction(db):
        take_in(db, hello, FAMILY, NOW)
        (run,) = runs.claim(db, NOW, 1, ())
        outbox.put(db, "k", FAMILY.jid, "reply", "hello", run.id, NOW)
        add(db, draft, NOW)
    (reply,), (task,) = outbox.of_run(db, run.id), tasks.existing(db)
    status = example("status")
    assert status.keys() == {"host", "sandbox", "groups", "channels", "network", "groups_problem", *stored_status(db)}
    assert status["groups"][0].keys() == groups_status({FAMILY.jid: FAMILY})[0].keys()
    assert status["network"]["family"].keys() == {field.name for field in fields(NetworkCounts)}
    assert example("run").keys() == run_json(run).keys()
    assert example("send")["replies"][0].keys() == reply_json(reply).keys()
    assert example("task").keys() == task_json(task).keys()
    db.close()


def test_what_is_shown_of_the_network_has_the_fields_that_are_given(tmp_path: Path):
    asked = NetworkDecision(at=NOW, folder=FAMILY.folder, host="x", port=443, verdict="refused", reason="policy")
    assert example("decision").keys() == decision_json(asked).keys()
    assert example("policy").keys() == policy_json(Home(tmp_path), FAMILY).keys()
    listed = {row[0]: row[1].strip("`") for row in rows(section(page("docs/howto/network.md"), "The usual hosts"))}
    assert listed == {f"`{host}`": why for host, why in USUAL_HOSTS.items()}
    refusals = rows(section(page("docs/howto/network.md"), "When something was refused"))
    assert set(get_args(NetworkReason)) <= codes(" ".join(row[0] for row in refusals))


def test_the_sign_ins_shown_have_the_fields_that_are_given():
    shown = example("auth")
    for given, kind in ((shown, SignIns), (shown["accounts"][0], Account), (shown["groups"][0], GroupSignIn)):
        assert given.keys() == {field.name for field in fields(kind)}


def test_the_prompt_shown_is_what_agents_get():
    (body,) = blocks("xml", "prompt")
    zone = ZoneInfo("Europe/Berlin")
    said = [("Bob", "we need milk & eggs", 0), ("Ann", "@Andy make a list", 90)]
    messages = [
        Message(
            seq=Seq(1), chat=FAMILY.jid, sender=who, sender_name=who, text=text, received_at=NOW,
            sent_at=datetime.fromtimestamp(NOW.timestamp() + later, UTC),
        )
        for who, text, later in said
    ]  # fmt: skip
    assert body.strip() == messages_prompt(messages, zone, 3)


def _anchors(path: Path) -> set[str]:
    """The names that headings get where such pages are shown."""
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(text)]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path):
    for link in _LINK.findall(_BLOCK.sub("", path.read_text(encoding="utf-8"))):
        if re.match("https?:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in _anchors(target), f"{link} names no heading"


def _listed_modules(text: str, package: str) -> set[str]:
    table = text.split(f"<!-- modules {package} -->")[1].split("\n\n")[0]
    return {name for row in rows(table) for name in codes(row[0])}


@pytest.mark.parametrize("package", ["nanoclaw", "nanoclaw_runner"])
def test_every_module_has_its_line_and_every_line_its_module(package: str):
    """A folder may have one line for all that is in it, or one for each of its modules."""
    listed = _listed_modules(page("docs/design.md"), package)
    detailed = {name.rpartition("/")[0] + "/" for name in listed if name.endswith(".py")}
    files = [path.relative_to(SOURCE / package) for path in (SOURCE / package).rglob("*.py")]
    modules = {path.as_posix() for path in files if path.name != "__init__.py"}
    in_one_line = tuple(name for name in listed - detailed if name.endswith("/"))
    assert {name for name in modules if not name.startswith(in_one_line)} == {n for n in listed if n.endswith(".py")}
    assert all((SOURCE / package / name).exists() for name in listed)


def test_the_layers_shown_are_those_that_are_enforced():
    (shown,) = re.findall(r"^```\n(__main__ →.*?)```$", page("docs/design.md"), re.MULTILINE | re.DOTALL)
    configuration = tomllib.loads(page("pyproject.toml"))
    enforced = configuration["tool"]["importlinter"]["contracts"][0]["layers"]
    assert [" ".join(layer.split()) for layer in shown.split("→")] == enforced


def test_what_comments_call_design_is_there():
    assert (ROOT / "DESIGN").resolve() == ROOT / "docs" / "design.md"
    comments = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    numbers = set(re.findall(r"DESIGN §(\d+)", comments))
    assert numbers
    assert all(f"\n## {number}. " in page("docs/design.md") for number in numbers)


def test_every_sentence_that_people_can_meet_has_its_cure():
    text = page("docs/reference/errors.md")
    sentences = list(reference.sentences())
    assert len(sentences) > 40
    assert [where for where, fragment, _, _ in sentences if fragment not in text] == []
    assert [row[0] for row in rows(text) if not row[1]] == []


def test_the_measured_numbers_are_those_of_the_bench():
    newest = report.newest()
    assert page("docs/reference/numbers.md") == report.page(newest)
    assert report.TARGETS.keys() <= newest["numbers"].keys()
    shown = page("README.md").split("<!-- bench -->")[1].split("<!-- /bench -->")[0].strip().splitlines()
    assert len(shown) > 8
    assert set(shown[2:]) <= {report.row(name, numbers) for name, numbers in newest["numbers"].items()}
