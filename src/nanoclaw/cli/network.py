"""`nanoclaw network`"""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import anyio
import typer

from nanoclaw.cli.reading import database
from nanoclaw.cli.showing import Table
from nanoclaw.client import tell_host
from nanoclaw.clock import iso
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import UsageError
from nanoclaw.gateway import Policy, policy_of
from nanoclaw.gateway.usual import USUAL_HOSTS
from nanoclaw.groups import Entries, change_groups, find_group, load_groups
from nanoclaw.hosts import DEFAULT_PORTS, Pattern, parse_pattern
from nanoclaw.model import Folder, NetworkDecision, NetworkPolicy, RegisteredGroup
from nanoclaw.store import network

app = typer.Typer(help="What each group's agent may reach, and what it has tried.", no_args_is_help=True)

Group = Annotated[str, typer.Argument(metavar="FOLDER", help="The group, by folder or jid.")]
Hosts = Annotated[list[str], typer.Argument(metavar="HOST…", help="github.com, *.example.org, or example.org:8443.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def log(
    context: typer.Context,
    folder: Annotated[str | None, typer.Argument(help="Only this group.")] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what agents asked for, and what became of it."""
    home: Home = context.obj
    with database(home) as db:
        found = network.recent(db, limit, Folder(folder) if folder else None, denied=denied)
    if as_json:
        print(json.dumps([decision_json(decision) for decision in found], indent=2))
        return
    table = Table("at", "group", "host", "verdict", "reason", "bytes up", "down", "ms", box=None)
    for each in found:
        host = str(Pattern(each.host, each.port)) if each.host else ""
        numbers = (str(number) for number in (each.uploaded, each.downloaded, each.ms))
        table.add_row(iso(each.at), each.folder, host, each.verdict, each.reason, *numbers)
    table.show()


@app.command()
def show(context: typer.Context, folder: Group, as_json: Json = False) -> None:
    """Show the policy that is in force for a group, and where it comes from."""
    home: Home = context.obj
    shown = policy_json(home, _group(home, folder))
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    print(f"{shown['group']}: {shown['policy']}, by {shown['policy_from']}")
    for key in ("allow", "deny", "allow_all_groups", "usual", "private"):
        if shown[key]:
            print(f"{key.replace('_', ' ')}: {', '.join(shown[key])}")


@app.command()
def allow(context: typer.Context, folder: Group, hosts: Hosts) -> None:
    """Let a group reach hosts."""
    _edit_lists(context.obj, folder, hosts, add_to="allow", take_from=("deny",))


@app.command()
def deny(context: typer.Context, folder: Group, hosts: Hosts) -> None:
    """Keep a group from hosts, whatever else allows them; open connections are closed."""
    _edit_lists(context.obj, folder, hosts, add_to="deny", take_from=("allow",))


@app.command()
def forget(context: typer.Context, folder: Group, hosts: Hosts) -> None:
    """Take hosts off both of a group's lists: the policy alone decides about them again."""
    _edit_lists(context.obj, folder, hosts, add_to=None, take_from=("allow", "deny"))


@app.command("set")
def set_policy(
    context: typer.Context,
    folder: Group,
    policy: Annotated[
        Literal[NetworkPolicy, "default"],
        typer.Argument(help="The provider alone; named hosts too; every public host; by its level and the settings."),
    ],
) -> None:
    """Choose a group's policy."""
    home: Home = context.obj
    group = _group(home, folder)
    if policy == "default":
        _change(home, group, lambda lists: lists.pop("policy", None))
    else:
        _change(home, group, lambda lists: lists.update(policy=policy))
    print(f"{group.folder}: {policy_of(load_settings(home).network, _group(home, folder)).mode}")


def decision_json(decision: NetworkDecision) -> dict[str, Any]:
    """A row of the log as programs get it."""
    return {
        "at": iso(decision.at),
        "group": decision.folder,
        "host": decision.host,
        "port": decision.port,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "uploaded": decision.uploaded,
        "downloaded": decision.downloaded,
        "ms": decision.ms,
    }


def policy_json(home: Home, group: RegisteredGroup) -> dict[str, Any]:
    """The policy in force for a group, and the lists that it is made of."""
    settings = load_settings(home).network
    by_level = "its level, full" if group.approval_policy == "full" else "the settings"
    return {
        "group": group.folder,
        "policy": policy_of(settings, group).mode,
        "policy_from": "its own network.policy" if group.network.policy else by_level,
        "allow": list(group.network.allow),
        "deny": list(group.network.deny),
        "allow_all_groups": list(settings.allow),
        "usual": list(USUAL_HOSTS),
        "private": list(settings.private),
    }


def _edit_lists(home: Home, folder: str, hosts: list[str], *, add_to: str | None, take_from: Sequence[str]) -> None:
    group = _group(home, folder)
    patterns = [_pattern(host) for host in hosts]

    def edit(lists: dict[str, Any]) -> None:
        for name in take_from:
            lists[name] = [entry for entry in lists.get(name, []) if parse_pattern(entry) not in patterns]
        if add_to is not None:
            known = lists.get(add_to, [])
            new = [str(each) for each in patterns if each not in map(parse_pattern, known)]
            lists[add_to] = [*known, *new]

    _change(home, group, edit)
    policy = policy_of(load_settings(home).network, _group(home, folder))
    for pattern in patterns:
        print(_what_holds(policy, pattern))


def _what_holds(policy: Policy, pattern: Pattern) -> str:
    """Whether the hosts can be reached now; another list, or the policy, may have the last word."""
    sample = f"any.{pattern.host}" if pattern.below else pattern.host
    ports = DEFAULT_PORTS if pattern.port is None else (pattern.port,)
    if any(policy.reach(sample, port) for port in ports):
        return f"{policy.folder} may reach {pattern}"
    why = " (its policy is none)" if policy.mode == "none" else ""
    return f"{policy.folder} may not reach {pattern}{why}"


def _pattern(host: str) -> Pattern:
    try:
        return parse_pattern(host)
    except ValueError as error:
        raise UsageError(str(error), "names alone, without https:// and without a path") from error


def _group(home: Home, folder: str) -> RegisteredGroup:
    return find_group(load_groups(home.registered_groups), folder)


def _change(home: Home, group: RegisteredGroup, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the group's `network` in the file; a running host has it in force before the command ends."""

    def change(entries: Entries) -> None:
        edit(entries[group.jid].setdefault("network", {}))

    change_groups(home.registered_groups, change)
    anyio.run(tell_host, home)
