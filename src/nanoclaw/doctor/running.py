"""The host that may run, and the chats it is to hear."""

from collections.abc import Iterator
from typing import Final

from nanoclaw import __version__
from nanoclaw.channels import make_channels
from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.channel import DOMAINS
from nanoclaw.channels.whatsapp.requirement import lack
from nanoclaw.clock import SystemClock
from nanoclaw.doctor.findings import Finding, fine, problem
from nanoclaw.doctor.scene import Scene
from nanoclaw.lives import stopped_itself

_AGAIN: Final = "stop the host, then start it: nanoclaw run"


def host(scene: Scene) -> Iterator[Finding]:
    """It answers, and is of this version."""
    if scene.silent:
        what = f"one runs and does not answer: {scene.silent}"
        yield problem("host-silent", "host", what, f"`nanoclaw logs` says what it does; {_AGAIN}")
    elif scene.status is None and (why := stopped_itself(scene.home, scene.machine.now)):
        yield problem("host-stopped-itself", "host", why, "mend what it names, then: nanoclaw run --anyway")
    elif scene.status is None:
        yield problem("host-absent", "host", "none is running", "nanoclaw run")
    elif (version := scene.status["host"]["version"]) != __version__:
        yield problem("host-other-version", "host", f"it is {version}, and this program {__version__}", _AGAIN)
    else:
        yield fine("host", f"version {version} runs since {scene.status['host']['since']}")


def crashes(scene: Scene) -> Iterator[Finding]:
    """What a running host says of the lives before this one."""
    if past := (scene.status or {}).get("host", {}).get("problem"):
        yield problem("host-crashed", "host", past, "nanoclaw logs")


def service(scene: Scene) -> Iterator[Finding]:
    """The host starts with this machine."""
    state = scene.machine.service
    if state is None:
        what = "no systemd and no launchd answers here"
        yield problem("service-absent", "service", what, "have something else run `nanoclaw run`, e.g. cron's @reboot")
    elif not state.installed:
        yield problem("service-absent", "service", "not installed", "nanoclaw service install")
    elif not state.running:
        yield problem("service-stopped", "service", f"does not run ({state.detail})", "nanoclaw service restart")
    elif not state.lingers:
        yield problem("service-leaves", "service", "runs, while you are logged in", "loginctl enable-linger")
    else:
        yield fine("service", f"{state.unit} runs ({state.manager})")


def chats(scene: Scene) -> Iterator[Finding]:
    """Every group's platform is switched on."""
    channels = make_channels(scene.home, scene.settings, SystemClock())
    off = [group for jid, group in scene.groups.items() if not any(channel.owns(jid) for channel in channels)]
    for group in off:
        if group.jid.endswith(DOMAINS):
            hint = f"set whatsapp.enabled in {scene.home.settings}, and start the host again"
        else:
            hint = f"correct its address in {scene.home.registered_groups}, or nanoclaw groups remove {group.folder}"
        yield problem("channel-off", f"chat of {group.folder}", f"no channel has {group.jid}", hint)
    if not off:
        yield fine("chats", "every group's channel is switched on")


def channels(scene: Scene) -> Iterator[Finding]:
    """As the running host sees them."""
    for channel in (scene.status or {}).get("channels", []):
        check = f"channel {channel['name']}"
        if channel["problem"]:
            yield problem("channel-down", check, channel["problem"], channel["hint"] or "it is tried again by itself")
        else:
            yield fine(check, channel["state"])


def whatsapp(scene: Scene) -> Iterator[Finding]:
    """Where it is wanted: this machine can do it, and an account is linked."""
    if not scene.settings.whatsapp.enabled:
        return
    if (lacking := lack()) is not None:
        yield problem("whatsapp-unusable", "WhatsApp", lacking.what, lacking.hint)
        return
    linked = account.load(scene.home.whatsapp)
    if linked is None:
        yield problem("whatsapp-unlinked", "WhatsApp", "no account is linked", "nanoclaw auth login whatsapp")
    else:
        yield fine("WhatsApp", f"linked as +{linked.phone}")
