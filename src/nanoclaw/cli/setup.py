"""`nanoclaw setup`"""

from typing import Annotated, Literal

import typer

from nanoclaw.providers import ProviderName

_Engine = Literal["podman", "docker", "container", "bubblewrap"]
_Way = Literal["device", "browser", "api-key", "token"]


def setup(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what no flag says is left as usual.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Tell what happens in JSON, a line each; asks nothing.")
    ] = False,
    engine: Annotated[_Engine | None, typer.Option(help="The sandbox; usual: the best that works.")] = None,
    browser: Annotated[bool | None, typer.Option(help="An image with a browser for agents; usual: with.")] = None,
    provider: Annotated[ProviderName | None, typer.Option(help="Who thinks in main.")] = None,
    sign_in: Annotated[
        _Way | None,
        typer.Option(help="How: by a code (device) or here (browser) for ChatGPT, token for Claude, or an api-key."),
    ] = None,
    key_fd: Annotated[int | None, typer.Option(help="Read key or token from this descriptor, not from stdin.")] = None,
    name: Annotated[str | None, typer.Option(help="What the assistant is called; usual: Andy.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name; usual: the machine's own.")] = None,
    whatsapp: Annotated[bool | None, typer.Option(help="Live in WhatsApp; usual with --yes: no.")] = None,
    number: Annotated[
        Literal["own", "shared"] | None, typer.Option(help="The WhatsApp number is its own, or yours.")
    ] = None,
    phone: Annotated[str | None, typer.Option(help="Link by a code typed on this phone, not by a QR code.")] = None,
    main: Annotated[
        str | None, typer.Option(help="Main's chat: self, local, a phone number, or a group's name or address.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="Your phone number: in main you alone are obeyed; or everybody.")
    ] = None,
    groups: Annotated[str | None, typer.Option(help="Other WhatsApp groups, by name, with commas; or none.")] = None,
    group_provider: Annotated[ProviderName | None, typer.Option(help="Who thinks in those; usual: as in main.")] = None,
    service: Annotated[bool | None, typer.Option(help="Start with this machine; usual with --yes: no.")] = None,
) -> None:
    """Set everything up, step by step, to a first answer. Stop at any time; run again, it goes on where it was."""
    values = {
        "engine": engine, "browser": browser, "provider": provider, "sign-in": sign_in, "name": name,
        "timezone": timezone, "whatsapp": whatsapp, "number": number, "phone": phone, "main": main, "owner": owner,
        "groups": groups, "group-provider": group_provider, "service": service,
    }  # fmt: skip
    flags = {flag: _word(value) for flag, value in values.items() if value is not None}
    from nanoclaw.cli.setup_run import run_setup  # with all that it brings, for this command alone

    run_setup(context.obj, flags, asks=not (yes or as_json), as_json=as_json, key_fd=key_fd)


def _word(value: str | bool) -> str:
    return value if isinstance(value, str) else ("yes" if value else "no")
