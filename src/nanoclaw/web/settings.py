"""A group's settings: shown as they are in force, and changed as an edit of `registered_groups.json` is."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.errors import ConfigError, NotFoundError, UsageError
from nanoclaw.gateway import policy_of
from nanoclaw.gateway.usual import USUAL_HOSTS
from nanoclaw.groups import Entries, find_group
from nanoclaw.hosts import Pattern, parse_pattern
from nanoclaw.model import AuthMethod, NetworkPolicy, RegisteredGroup
from nanoclaw.providers import PROVIDER_NAMES
from nanoclaw.store import messages
from nanoclaw.web.context import Context, rendered, see
from nanoclaw.web.forms import lines, number, read_form
from nanoclaw.wire import ApprovalPolicy

Form = Mapping[str, str]
Entry = dict[str, Any]


def settings_routes(context: Context) -> list[Route]:
    """`/groups/…/settings` and what is below it."""
    pages = _Settings(context)
    return [
        Route("/groups/{folder}/settings", pages.show),
        Route("/groups/{folder}/settings/{part}", pages.change, methods=["POST"]),
    ]


class _Settings:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = context.services

    def _group(self, request: Request) -> RegisteredGroup:
        return find_group(self._services.groups.groups, request.path_params["folder"])

    async def show(self, request: Request) -> Response:
        group = self._group(request)
        settings = self._services.settings
        values = {
            "group": group,
            "configs": [(name, getattr(group, name)) for name in PROVIDER_NAMES],
            "levels": get_args(ApprovalPolicy),
            "methods": get_args(AuthMethod),
            "policies": get_args(NetworkPolicy),
            "policy": policy_of(settings.network, group).mode,
            "policy_from": _policy_from(group),
            "network": settings.network,
            "usual": USUAL_HOSTS,
            "timeout": settings.runs.timeout_seconds,
            "members": await self._services.database.read(messages.members, group.jid),
            "owners": settings.owners,
        }
        return rendered(request, "settings.html", values)

    async def change(self, request: Request) -> Response:
        group = self._group(request)
        edit = PARTS.get(request.path_params["part"])
        if edit is None:
            raise NotFoundError(
                f"no settings are called {request.path_params['part']}", f"there are {', '.join(PARTS)}"
            )
        form = await read_form(request)
        self._services.groups.reload()
        if self._services.groups.problem:  # somebody's broken edit must be mended before anything is added to it
            raise self._services.groups.problem
        try:
            await self._services.groups.change(partial(_edited, group, edit, form))
        except ConfigError as error:
            told = str(error).rpartition(f"{group.jid}: ")[2]  # the page says which group this is about
            raise UsageError(told, error.hint) from error
        return see(f"/groups/{group.folder}/settings")


def _edited(group: RegisteredGroup, edit: Callable[[Entry, Form], None], form: Form, entries: Entries) -> None:
    entry = entries.get(group.jid)
    if not isinstance(entry, dict):
        raise NotFoundError(f"{group.name} is not registered any more", "see the list of groups")
    edit(cast("Entry", entry), form)


def _policy_from(group: RegisteredGroup) -> str:
    if group.network.policy:
        return "as chosen here"
    return "by its level, full" if group.approval_policy == "full" else "by network.policy in nanoclaw.toml"


def thinks(entry: Entry, form: Form) -> None:
    """Who thinks, with which model, and what it may do. Level and model belong to a provider: a group has both."""
    entry["provider"] = form.get("provider", "")
    for name in PROVIDER_NAMES:
        for field, key in (("level", "approvalPolicy"), ("model", "model"), ("auth", "authMethod")):
            if f"{name}_{field}" in form:
                _set(entry, ("providerConfig", name, key), form[f"{name}_{field}"].strip() or None)


def wakes(entry: Entry, form: Form) -> None:
    """What the group is called, what wakes its agent, and who may."""
    entry["name"] = form.get("name", "").strip()
    if "trigger" in form:
        entry["trigger"] = form["trigger"].strip()
        entry["requiresTrigger"] = "requires_trigger" in form
    _set(entry, ("senders", "policy"), form.get("senders", ""))
    _set(entry, ("senders", "allow"), lines(form.get("allow", "")))


def network(entry: Entry, form: Form) -> None:
    """What the agent may reach."""
    _set(entry, ("network", "policy"), form.get("policy") or None)
    for key in ("allow", "deny"):
        _set(entry, ("network", key), [str(_pattern(host)) for host in lines(form.get(key, ""))])


def allow(entry: Entry, form: Form) -> None:
    """Let the agent reach one host more, as `nanoclaw network allow` does."""
    pattern = _pattern(form.get("host", ""))
    lists = entry.setdefault("network", {})
    lists["deny"] = [host for host in lists.get("deny", []) if parse_pattern(host) != pattern]
    known = lists.get("allow", [])
    lists["allow"] = known if pattern in map(parse_pattern, known) else [*known, str(pattern)]


def limits(entry: Entry, form: Form) -> None:
    """How long a run may take, and what a day may cost."""
    seconds = number(form.get("timeout", ""), "the time for one run")
    tokens = number(form.get("tokens", ""), "tokens for one day")
    _set(entry, ("containerConfig", "timeout"), None if seconds is None else int(seconds * 1000))
    _set(entry, ("budget", "tokensPerDay"), None if tokens is None else int(tokens))
    _set(entry, ("budget", "usdPerDay"), number(form.get("usd", ""), "US dollars for one day"))


PARTS: Final[dict[str, Callable[[Entry, Form], None]]] = {
    "thinks": thinks,
    "wakes": wakes,
    "network": network,
    "allow": allow,
    "limits": limits,
}
"""What one form changes in a group's entry. What comes of it is checked as the whole file is, before it counts."""


def _set(entry: Entry, path: tuple[str, ...], value: object) -> None:
    """Put a value where it belongs, or take it away (None). What is no object on the way is left to the check."""
    *way, last = path
    for key in way:
        if value is None and key not in entry:
            return
        inner = entry.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        entry = cast("Entry", inner)
    if value is None:
        entry.pop(last, None)
    else:
        entry[last] = value


def _pattern(host: str) -> Pattern:
    try:
        return parse_pattern(host)
    except ValueError as error:
        raise UsageError(str(error), "names alone, one on each line, without https:// and without a path") from error
