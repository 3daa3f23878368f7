"""`nanoclaw groups`"""

import json
from typing import Annotated, Any, Literal

import anyio
import typer

from nanoclaw.cli.groups_view import settings_json, show_chats, show_settings
from nanoclaw.cli.showing import Table
from nanoclaw.client import Client, tell_host
from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import HostError, UsageError
from nanoclaw.firstfiles import make_group_directory
from nanoclaw.groups import Entries, change_groups, find_group, load_groups, new_entry
from nanoclaw.model import MAIN_FOLDER, AuthMethod
from nanoclaw.providers import ProviderName
from nanoclaw.status import groups_status
from nanoclaw.wire import ApprovalPolicy

app = typer.Typer(help="The registered chats and who thinks in them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Name = Annotated[str, typer.Argument(help="Folder or jid.")]
Provider = Annotated[ProviderName | None, typer.Option(help="Who thinks in this group.")]
Policy = Annotated[ApprovalPolicy | None, typer.Option(help="What the agent may do in its sandbox.")]
Method = Annotated[
    Literal[AuthMethod, "default"] | None,
    typer.Option(help="How Codex signs in; `default`: by a ChatGPT login, else by a key."),
]
Model = Annotated[str | None, typer.Option(help="The provider's model; `default` takes the setting away.")]
Requires = Annotated[
    bool | None,
    typer.Option("--requires-trigger/--no-requires-trigger", help="Whether a message must begin with the trigger."),
]


@app.command("list")
def list_groups(context: typer.Context, as_json: Json = False) -> None:
    """Show the registered groups."""
    home: Home = context.obj
    groups = groups_status(load_groups(home.registered_groups))
    if as_json:
        print(json.dumps(groups, indent=2, ensure_ascii=False))
        return
    table = Table("folder", "name", "chat", "trigger", "provider", "level", box=None)
    for group in groups:
        trigger = group["trigger"] if group["requires_trigger"] else "(none needed)"
        table.add_row(
            group["folder"], group["name"], group["jid"], trigger, group["provider"], group["approval_policy"]
        )
    table.show()


@app.command()
def show(context: typer.Context, group: Name, as_json: Json = False) -> None:
    """Show what is in force for a group, and who is in its chat."""
    home: Home = context.obj
    shown = settings_json(home, find_group(load_groups(home.registered_groups), group))
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        show_settings(shown)


@app.command()
def chats(context: typer.Context, as_json: Json = False) -> None:
    """Show the chats that the assistant is in and takes no part in, the liveliest first."""
    show_chats(context.obj, for_programs=as_json)


@app.command()
def refresh(context: typer.Context) -> None:
    """Have the running host ask every platform which chats there are; `groups chats` shows them."""

    async def ask() -> dict[str, Any]:
        async with Client(context.obj) as client:
            return await client.post("/v1/commands", {"type": "refresh_groups"})

    for channel, why in anyio.run(ask).get("unavailable", {}).items():
        raise HostError(f"{channel} cannot be asked: {why}", "try again when it is connected")


@app.command()
def add(
    context: typer.Context,
    jid: Annotated[str, typer.Option(help="The chat's address, e.g. local:family.")],
    name: Annotated[str, typer.Option(help="How people call the group.")],
    folder: Annotated[str, typer.Option(help="Its directory below groups/: letters, digits, - and _.")],
    trigger: Annotated[str | None, typer.Option(help="What a message must begin with; default @ and the name.")] = None,
    provider: Provider = None,
    approval_policy: Policy = None,
    auth_method: Method = None,
    model: Model = None,
    requires_trigger: Requires = None,
) -> None:
    """Register a chat as a group."""
    home: Home = context.obj
    trigger = trigger or f"@{load_settings(home).assistant_name}"

    def change(entries: Entries) -> None:
        if jid in entries:
            raise UsageError(
                f"{jid} is registered already", f"change it with `nanoclaw groups set {entries[jid]['folder']}`"
            )
        entries[jid] = new_entry(name, folder, trigger, iso(SystemClock().now()))
        _apply(entries[jid], provider, approval_policy, auth_method, model, requires_trigger)

    change_groups(home.registered_groups, change)
    make_group_directory(home, folder)
    anyio.run(tell_host, home)


@app.command("set")
def set_group(
    context: typer.Context,
    group: Name,
    name: Annotated[str | None, typer.Option(help="How people call the group.")] = None,
    trigger: Annotated[str | None, typer.Option(help="What a message must begin with.")] = None,
    provider: Provider = None,
    approval_policy: Policy = None,
    auth_method: Method = None,
    model: Model = None,
    requires_trigger: Requires = None,
    senders: Annotated[
        Literal["everyone", "allowlist"] | None, typer.Option(help="Who may wake the agent; owners always may.")
    ] = None,
    senders_allow: Annotated[
        list[str] | None,
        typer.Option(help="An address or phone number that may wake the agent, and nobody else; may be given again."),
    ] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=0, help="Tokens a day; 0: as many as it takes.")] = None,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="US$ a day; 0: as much as it takes.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="For one run; 0: as nanoclaw.toml says.")
    ] = None,
) -> None:
    """Change a group; what is not named stays."""
    home: Home = context.obj

    def change(entries: Entries) -> None:
        entry = entries[find_group(load_groups(home.registered_groups), group).jid]
        entry.update({key: value for key, value in {"name": name, "trigger": trigger}.items() if value is not None})
        if senders_allow:
            entry["senders"] = {**entry.get("senders", {}), "allow": senders_allow, "policy": senders or "allowlist"}
        elif senders:
            entry["senders"] = {**entry.get("senders", {}), "policy": senders}
        _keep(entry, "budget", tokensPerDay=budget_tokens, usdPerDay=budget_usd)
        _keep(entry, "containerConfig", timeout=None if timeout is None else int(timeout * 1000))
        _apply(entry, provider, approval_policy, auth_method, model, requires_trigger)

    change_groups(home.registered_groups, change)
    anyio.run(tell_host, home)


def _keep(entry: dict[str, Any], name: str, **limits: float | None) -> None:
    """Write limits into a part of an entry; 0 takes one away, None leaves it."""
    if any(value is not None for value in limits.values()):
        part = {**entry.get(name, {}), **{key: value for key, value in limits.items() if value is not None}}
        entry[name] = {key: value for key, value in part.items() if key not in limits or value}


@app.command()
def remove(context: typer.Context, group: Name) -> None:
    """Take a chat off the list; its files, memory and messages stay."""
    home: Home = context.obj

    def change(entries: Entries) -> None:
        found = find_group(load_groups(home.registered_groups), group)
        if found.folder == MAIN_FOLDER:
            raise UsageError("main cannot be removed", "it is the owner's control chat")
        del entries[found.jid]

    change_groups(home.registered_groups, change)
    anyio.run(tell_host, home)


def _apply(
    entry: dict[str, Any],
    provider: ProviderName | None,
    approval_policy: ApprovalPolicy | None,
    auth_method: str | None,
    model: str | None,
    requires_trigger: bool | None,
) -> None:
    """Write the named settings into an entry; level and model belong to the group's provider."""
    if provider is not None:
        entry["provider"] = provider
    if requires_trigger is not None:
        entry["requiresTrigger"] = requires_trigger
    chosen: Literal["claude", "codex"] = entry.get("provider", "claude")
    if auth_method is not None and chosen != "codex":
        raise UsageError("--auth-method is for groups with --provider codex", "Claude takes a key before a token")
    settings = {"approvalPolicy": approval_policy, "authMethod": auth_method, "model": model}
    wanted = {key: value for key, value in settings.items() if value is not None}
    if wanted:
        config = entry.setdefault("providerConfig", {}).setdefault(chosen, {})
        config.update(wanted)
        for key in [key for key, value in wanted.items() if value == "default"]:
            del config[key]
