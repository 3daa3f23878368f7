"""`nanoclaw groups`"""

import json
from typing import Annotated, Any, Literal

import anyio
import typer

from nanoclaw.cli.showing import Table
from nanoclaw.client import Client, NoHostError
from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import UsageError
from nanoclaw.groups import Entries, change_groups, find_group, load_groups, new_entry
from nanoclaw.initialise import make_group_directory
from nanoclaw.model import MAIN_FOLDER, AuthMethod
from nanoclaw.providers import ProviderName
from nanoclaw.status import groups_status
from nanoclaw.wire import ApprovalPolicy

app = typer.Typer(help="The registered chats and who thinks in them.", no_args_is_help=True)

Provider = Annotated[ProviderName | None, typer.Option(help="Who thinks in this group.")]
Policy = Annotated[ApprovalPolicy | None, typer.Option(help="What the agent may do in its sandbox.")]
Method = Annotated[AuthMethod | None, typer.Option(help="How Codex signs in.")]
Model = Annotated[str | None, typer.Option(help="The provider's model; `default` takes the setting away.")]
Requires = Annotated[
    bool | None,
    typer.Option("--requires-trigger/--no-requires-trigger", help="Whether a message must begin with the trigger."),
]


@app.command("list")
def list_groups(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
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
    _tell_host(home)


@app.command("set")
def set_group(
    context: typer.Context,
    group: Annotated[str, typer.Argument(help="Folder or jid.")],
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
        _budget(entry, tokensPerDay=budget_tokens, usdPerDay=budget_usd)
        _apply(entry, provider, approval_policy, auth_method, model, requires_trigger)

    change_groups(home.registered_groups, change)
    _tell_host(home)


def _budget(entry: dict[str, Any], **limits: float | None) -> None:
    budget = {**entry.get("budget", {}), **{key: value for key, value in limits.items() if value is not None}}
    entry["budget"] = {key: value for key, value in budget.items() if value}


@app.command()
def remove(context: typer.Context, group: Annotated[str, typer.Argument(help="Folder or jid.")]) -> None:
    """Take a chat off the list; its files, memory and messages stay."""
    home: Home = context.obj

    def change(entries: Entries) -> None:
        found = find_group(load_groups(home.registered_groups), group)
        if found.folder == MAIN_FOLDER:
            raise UsageError("main cannot be removed", "it is the owner's control chat")
        del entries[found.jid]

    change_groups(home.registered_groups, change)
    _tell_host(home)


def _apply(
    entry: dict[str, Any],
    provider: ProviderName | None,
    approval_policy: ApprovalPolicy | None,
    auth_method: AuthMethod | None,
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
        if model == "default":
            del config["model"]


def _tell_host(home: Home) -> None:
    """A running host takes the change into force before the command ends."""

    async def tell() -> None:
        async with Client(home) as client:
            await client.post("/v1/groups/reload", {})

    try:
        anyio.run(tell)
    except NoHostError:
        return
