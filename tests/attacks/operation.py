"""What is attacked in which order, and what the host's side looks at in between and in the end."""

import json
import shutil
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.groups import load_groups
from nanoclaw.model import Jid
from nanoclaw.sandbox.mounts import group_mounts
from nanoclaw.sandbox.payload import RUNNER_COMMAND
from tests.attacks import terminal
from tests.attacks.campaign import ANSWER_SECONDS, KEY, Campaign, campaign, python_inside
from tests.attacks.inside import faithless
from tests.attacks.inside.attempt import ALONE, BOMB, LAST, QUIET
from tests.attacks.inside.forging import FORGED
from tests.attacks.inside.listing import LISTED
from tests.attacks.lab import ATTACKER, NEIGHBOUR, arm
from tests.attacks.sabotage import edited
from tests.attacks.surroundings import Ground
from tests.attacks.table import Row

_FULL: Final = "the run is ended"
_ASK_MODELS: Final = (
    'import urllib.request as u; print("You said:", u.urlopen("http://127.0.0.1:3128/openai/models").status)'
)


async def attack(ground: Ground, directory: Path) -> list[Row]:
    """Everything, on one kind of sandbox; `directory` is empty."""
    async with campaign(ground.engine, ground.title, directory, ground.settings) as attacked:
        task = await settle(attacked)
        for step in (quietly, listed, rearrange, swap_sources, forge, speak, disturb, drip, bomb, fill, end_runner):
            await step(attacked)
        await terminal.paint(attacked)
        await _aftermath(attacked, task)
    attacked.rows += terminal.rows(attacked)
    return attacked.rows


async def settle(attacked: Campaign) -> dict[str, object]:
    """Let both groups run once, as they would have; the neighbour gets a task that is worth stealing."""
    command = {"type": "schedule_task", "prompt": "water the plants", "schedule_type": "cron"}
    when = {"schedule_value": "0 9 * * 1", "target_group": NEIGHBOUR}
    task = await attacked.client.post("/v1/commands", {**command, **when})
    attacked.lab.told["other task"] = task["taskId"]
    for folder in (NEIGHBOUR, ATTACKER):
        said = await attacked.ask(folder, "hello")
        attacked.check("the suite", f"{folder} is answered before the attack", "it is", said == "You said: hello", said)
    attacked.lacks = (await attacked.client.get("/v1/status"))["sandbox"]["lacks"]
    return task


async def quietly(attacked: Campaign) -> None:
    await attacked.phase(QUIET)
    await attacked.phase(ALONE)


async def listed(attacked: Campaign) -> None:
    """With a list of hosts, in place of every public one."""
    world = attacked.lab.world
    world.register(ATTACKER, network={"policy": "allowlist", "allow": ["*.listed.test", "only.test"]})
    await attacked.client.post("/v1/groups/reload", {})
    await attacked.phase(LISTED)
    world.register(ATTACKER, network={"policy": "open"})
    await attacked.client.post("/v1/groups/reload", {})


async def rearrange(attacked: Campaign) -> None:
    """Two runs that find what the one before has left in the place of what is mounted, read and written."""
    await attacked.phase(LAST)
    for number in ("next", "next but one"):
        said = await attacked.ask(ATTACKER, f"the {number} run")
        # an agent may spoil its own group's settings, if that is said
        held = said == f"You said: the {number} run" or "does not accept its configuration" in said
        attacked.check("rearranging", f"the {number} run is answered, or says what is wrong", "it is", held, said)
        attacked.check(
            "rearranging",
            f"nothing of the host was changed by the {number} run",
            "unchanged",
            attacked.lab.fingerprint() == attacked.lab.untouched,
            "changed",
        )
        await attacked.attack("second traps")
    attacked.check(
        "rearranging",
        "what a link of the agent's leads to was not shown to the model",
        "not shown",
        not any("canary-bait" in str(request.body) for request in attacked.lab.world.openai.requests),
        "a file of the host went to the model",
    )
    _repair(attacked)


def _repair(attacked: Campaign) -> None:
    """Take the traps away, as the owner would."""
    home = attacked.lab.world.home
    for place in (*home.data.glob(f"codex/{ATTACKER}/.codex/*"), *home.data.glob(f"sessions/{ATTACKER}/.claude/*")):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
    (attacked.lab.place / "CLAUDE.md").unlink(missing_ok=True)


async def swap_sources(attacked: Campaign) -> None:
    """As if the attacker had replaced what is mounted: no run may start on it, and nothing may follow."""
    home = attacked.lab.world.home
    group = load_groups(home.registered_groups)[Jid(f"local:{ATTACKER}")]
    for mount in group_mounts(home, group):
        aside = mount.source.with_name(f".aside-{mount.source.name}")
        mount.source.rename(aside)
        mount.source.symlink_to(attacked.lab.bait)
        said = await attacked.ask(ATTACKER, "a run on a link")
        mount.source.unlink()
        aside.rename(mount.source)
        refused = "cannot be mounted" in said
        attacked.check(
            "rearranging", f"a run with a link in place of {mount.target}", "it does not start", refused, said
        )
    unchanged = attacked.lab.fingerprint() == attacked.lab.untouched
    attacked.check("rearranging", "nothing where those links lead was changed", "unchanged", unchanged, "changed")


async def forge(attacked: Campaign) -> None:
    said = await attacked.attack("forge")
    attacked.check(
        "forging", "speak to the host in the runner's name, on every pipe there is", "refused", said == "refused", said
    )
    others = [text for folder in (NEIGHBOUR, "main") for text in attacked.said(folder) if FORGED in text]
    attacked.check("forging", "what was forged reaches no other chat", "nothing came", not others, others)


async def speak(attacked: Campaign) -> None:
    """With a program of the attacker's in the runner's place, which says to the host whatever it likes."""
    line = [python_inside(attacked.engine), "-I", "-B", "/workspace/group/inside/faithless.py"]
    arm(attacked.lab)
    with edited(lambda argv, _: [*argv[: -len(RUNNER_COMMAND)], *line], Path()):
        for name in faithless.SPEECHES:
            said = await attacked.ask(ATTACKER, f"speech: {name}")
            attacked.check("events", name, "the run ends", "stopped unexpectedly" in said, said)
        for name in (faithless.AFTER_DONE, faithless.FOR_OTHERS):
            said = await attacked.ask(ATTACKER, f"speech: {name}")
            attacked.note("events", name, faithless.ANSWER, said)
    said = await attacked.ask(ATTACKER, "and you")
    attacked.check("events", "afterwards the group is answered", "it is", said == "You said: and you", said)


async def drip(attacked: Campaign) -> None:
    """A neighbour's requests, while the attacker holds the gateway's connections with heads that never end."""
    place, said = anyio.Path(attacked.lab.place), ""

    async def neighbour() -> None:
        async with attacked.beside() as beside:
            with anyio.move_on_after(ANSWER_SECONDS):
                while not await (place / "dripping").exists():  # noqa: ASYNC110  # it is another process's
                    await anyio.sleep(0.1)
            said = await beside.run(NEIGHBOUR, f"{python_inside(attacked.engine)} -I -c '{_ASK_MODELS}'")
        answered = said.strip() == "You said: 200"
        attacked.check("gateway", "a neighbour's request while heads come drop by drop", "answered", answered, said)
        await (place / "enough").touch()

    async with anyio.create_task_group() as both:
        both.start_soon(neighbour)
        said = await attacked.attack("drip")
    attacked.check("the suite", "heads came drop by drop meanwhile", "they did", "dripped" in said, f"broken: {said}")


async def disturb(attacked: Campaign) -> None:
    before = _log_bytes(attacked)
    said = await attacked.attack("flood")
    grown = (_log_bytes(attacked) - before) >> 20
    attacked.check("logs", "30 MB of noise are survived", "answered", "nois" in said or "it ended" in said, said)
    attacked.check("logs", "30 MB of noise do not fill the disk", "kept out", grown <= 11, f"{grown} MiB were kept")


def _log_bytes(attacked: Campaign) -> int:
    return sum(path.stat().st_size for path in attacked.lab.world.home.logs.rglob("*") if path.is_file())


async def bomb(attacked: Campaign) -> None:
    """Bombs, while a neighbour is to be answered; then the attacker itself."""
    answers: list[str] = []

    async def neighbours() -> None:
        async with attacked.beside() as beside:
            for number in range(3):
                answers.append(await beside.ask(NEIGHBOUR, f"are you there {number}"))
                await anyio.sleep(1.0)

    async with anyio.create_task_group() as both:
        both.start_soon(neighbours)
        await attacked.phase(BOMB)
    expected = [f"You said: are you there {number}" for number in range(3)]
    attacked.check("resources", "a neighbour is answered meanwhile", "answered", answers == expected, answers)
    said = await attacked.ask(ATTACKER, "and you")
    attacked.check(
        "resources", "the group itself is answered afterwards", "answered", said == "You said: and you", said
    )


async def fill(attacked: Campaign) -> None:
    """More than the group may keep on the disk."""
    said = await attacked.attack("fill disk")
    got = _FULL if "more room than they may" in said else said if "it went on" in said else f"broken: {said}"
    attacked.note("resources", "the group's directory filled beyond its share", _FULL, got)
    said = await attacked.ask(ATTACKER, "is there room")
    told = "more room than they may" in said
    attacked.check("resources", "another run on a disk that is full", "it does not start", told, said)
    for piece in attacked.lab.place.glob("fill-*"):
        piece.unlink()
    said = await attacked.ask(ATTACKER, "and now")
    attacked.check("resources", "once there is room again, the group is answered", "it is", "and now" in said, said)


async def end_runner(attacked: Campaign) -> None:
    """The run is lost, which is the agent's own; the chat is told, and the next one is answered."""
    for what in ("kill runner", "kill all"):
        said = await attacked.attack(what)
        told = bool(said) and "it was sent" not in said
        attacked.check("other processes", f"{what}, from the agent's shell: the chat is told", "told", told, said)
        again = await attacked.ask(ATTACKER, f"after {what}")
        answered = f"after {what}" in again
        attacked.check("other processes", f"after that the group is answered ({what})", "answered", answered, again)


async def _aftermath(attacked: Campaign, task: dict[str, object]) -> None:
    """What must not have happened meanwhile, whatever the attempts were answered."""
    lab, check = attacked.lab, attacked.check
    touched = sorted(set(lab.tripwire.touched))
    check("aftermath", "services of the host were never reached", "never", not touched, touched)
    unchanged = lab.fingerprint() == lab.untouched
    check("aftermath", "files of the host are as they were", "unchanged", unchanged, "changed")
    for folder in (NEIGHBOUR, "main"):
        foreign = [text for text in attacked.said(folder) if not text.startswith("You said: ")]
        check("aftermath", f"nothing was said in the chat of {folder}", "nothing", not foreign, foreign)
    own = [text for text in attacked.said(ATTACKER) if "canary-" in text]
    check("aftermath", "no planted token was said in the attacker's own chat", "none", not own, own)
    copies = lab.world.home.outgoing
    stolen = [path.name for path in copies.rglob("*") if path.is_file() and b"canary-" in path.read_bytes()]
    check("aftermath", "no file that is not the attacker's was copied to be sent", "none", not stolen, stolen)
    by_mailbox = [text for text in attacked.said(ATTACKER) if "attack by name" in text or "attack by link" in text]
    check("aftermath", "no file with an odd name or a second link was obeyed", "none", not by_mailbox, by_mailbox)
    await _registered(attacked, task)
    model_server(attacked)


async def _registered(attacked: Campaign, task: dict[str, object]) -> None:
    home = attacked.lab.world.home
    entries = json.loads(home.registered_groups.read_text(encoding="utf-8"))
    plain = {"local:main", f"local:{ATTACKER}", f"local:{NEIGHBOUR}"}
    own = entries[f"local:{ATTACKER}"]
    unchanged = set(entries) == plain and "containerConfig" not in own and "providerConfig" not in own
    attacked.check("aftermath", "the groups are registered as before", "unchanged", unchanged, entries)
    tasks: list[dict[str, object]] = (await attacked.client.get("/v1/tasks"))["tasks"]
    same = any(task.items() >= entry.items() for entry in tasks if entry["id"] == task["taskId"])
    attacked.check("aftermath", "the neighbour's task is as it was", "unchanged", same, tasks)


def model_server(attacked: Campaign) -> None:
    requests = attacked.lab.world.openai.requests
    check = attacked.check
    paths = sorted({request.path for request in requests if not request.path.startswith("/v1/")})
    check("aftermath", "nothing outside of the provider's address was asked for", "nothing", not paths, paths)
    keys = {request.headers.get("authorization") for request in requests}
    check("aftermath", "the model's server saw the host's key alone", "the host's", keys == {f"Bearer {KEY}"}, keys)
    extra = [request.path for request in requests if "x-api-key" in request.headers]
    check("aftermath", "no credential of the attacker's was passed on", "none", not extra, extra)
    check("aftermath", "the test's names were asked for", "they were", "rebind.test" in attacked.names, attacked.names)
