"""The agent image: its name, and how it is made."""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from nanoclaw.config import command_environment
from nanoclaw.errors import SandboxError
from nanoclaw.sandbox.payload import fingerprint, making, recipe_directory, runner_files, write_files
from nanoclaw.sandbox.process import run_command

OFFICIAL_BASE: Final = "docker.io/library/python:3.13-slim"

_REPOSITORY = "localhost/nanoclaw-agent"
_BASE_REPOSITORY = "localhost/nanoclaw-base"
_REGISTRY_SECONDS = 10.0  # a registry answers within two; where none does, the recipe is the quicker way
_QUESTION_SECONDS = 60.0  # engines answer in 50 ms, unless the machine is busy with a build
_RECIPE_FILES = (
    "Dockerfile",
    "agent.lock",
    "browser/install.sh",
    "browser/node.lock",
    "browser/package.json",
    "browser/package-lock.json",
)


def image_tag(*, browser: bool = True) -> str:
    """Name of this version's image, `localhost/nanoclaw-agent:<12 hex>`: a hash over everything that goes into it."""
    return _tag(_build_context(), browser=browser)


async def find_image(engine: str, extra_args: Sequence[str] = ()) -> str | None:
    """The image of this version that the engine has; the one with a browser if it has both."""
    for browser in (True, False):
        tag = image_tag(browser=browser)
        if await _has_image((engine, *extra_args), tag):
            return tag
    return None


async def build_image(
    engine: str, extra_args: Sequence[str] = (), base: str | None = None, *, browser: bool = True
) -> AsyncGenerator[str]:
    """Build this version's image unless it is there; yields progress, a line each.

    Args:
        engine: the engine's command line tool, e.g. `podman`.
        extra_args: its global options, e.g. `--runtime runc`.
        base: build on this image, even if the result is there already. Otherwise on Python's official image where a
            registry answers, else on one made here from Debian's packages.
        browser: with Chromium and agent-browser.

    Raises:
        SandboxError: no base can be had, or the build failed.
    """
    command = (engine, *extra_args)
    context = _build_context()
    tag = _tag(context, browser=browser)
    if base is None:
        if await _has_image(command, tag):
            return
        base = await _base_at_hand(command)
        if base is None:
            base = _recipe_base()
            yield f"no registry answers for {OFFICIAL_BASE}: making a base image from Debian's packages"
            async with aclosing(_make_base(command, base)) as lines:
                async for line in lines:
                    yield line
    yield f"building {tag} on {base}"
    async with aclosing(_build(command, context, tag, base, browser=browser)) as lines:
        async for line in lines:
            yield line
    ours = {_tag(context, browser=True), _tag(context, browser=False), _recipe_base()}
    await _remove_other_versions(command, keep=ours)


def _tag(context: Mapping[str, bytes], *, browser: bool) -> str:
    return f"{_REPOSITORY}:{fingerprint(context, f'WITH_BROWSER={browser:d}')}"


def _build_context() -> dict[str, bytes]:
    recipe = recipe_directory()
    files = {name: (recipe / name).read_bytes() for name in _RECIPE_FILES}
    files.update((f"runner/{name}", content) for name, content in runner_files("python3").items())
    return files


def _recipe_base() -> str:
    return f"{_BASE_REPOSITORY}:{fingerprint({'base.sh': (recipe_directory() / 'base.sh').read_bytes()})}"


async def _base_at_hand(command: Sequence[str]) -> str | None:
    for image in (OFFICIAL_BASE, _recipe_base()):
        if await _has_image(command, image):
            return image
    answers = await _succeeds((*command, "manifest", "inspect", OFFICIAL_BASE), _REGISTRY_SECONDS)
    return OFFICIAL_BASE if answers else None


def _make_base(command: Sequence[str], tag: str) -> AsyncGenerator[str]:
    problem = "no image registry can be reached to build on Python's official image, and "
    if os.geteuid() != 0:
        cure = "build where docker.io is reached, or name an image with Python: nanoclaw image build --base IMAGE"
        raise SandboxError(problem + "only root can make another base", cure)
    if shutil.which("mmdebstrap") is None:
        raise SandboxError(problem + "mmdebstrap is missing to make another base", "apt-get install mmdebstrap")
    recipe = ("sh", str(recipe_directory() / "base.sh"), tag, *command)
    return making("a base image", recipe, command_environment())


async def _build(
    command: Sequence[str], context: Mapping[str, bytes], tag: str, base: str, *, browser: bool
) -> AsyncGenerator[str]:
    # podman: only our own Dockerfile runs, and so it needs neither an OCI runtime nor a network of its own
    isolation = ("--isolation", "chroot") if command[0] == "podman" else ()
    options = ("--build-arg", f"BASE={base}", "--build-arg", f"WITH_BROWSER={browser:d}", "--tag", tag)
    with tempfile.TemporaryDirectory(prefix="nanoclaw-image-") as folder:
        write_files(Path(folder), context)
        arguments = (*command, "build", *isolation, *options, folder)
        async with aclosing(making("the agents' image", arguments, command_environment())) as lines:
            async for line in lines:
                yield line


async def _remove_other_versions(command: Sequence[str], keep: set[str]) -> None:
    """What a container still uses stays."""
    listing = (*command, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    names = (await run_command(listing, command_environment(), _QUESTION_SECONDS)).stdout.split()
    for name in names:
        if name.startswith((f"{_REPOSITORY}:", f"{_BASE_REPOSITORY}:")) and name not in keep:
            await _succeeds((*command, "image", "rm", name))


async def _has_image(command: Sequence[str], tag: str) -> bool:
    return await _succeeds((*command, "image", "inspect", tag))


async def _succeeds(command: Sequence[str], seconds: float = _QUESTION_SECONDS) -> bool:
    try:
        return (await run_command(command, command_environment(), seconds)).returncode == 0
    except SandboxError:
        return False
