"""The agent image and the toolkit, as far as they can be judged without building them."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoclaw.errors import SandboxError
from nanoclaw.sandbox.image import OFFICIAL_BASE, build_image, find_image, image_tag
from nanoclaw.sandbox.payload import ENVIRONMENT, PROGRAMS, fingerprint, recipe_directory, runner_files, write_files
from nanoclaw.sandbox.toolkit import find_toolkit

REPOSITORY = Path(__file__).parents[2]
LOCKS = sorted([*REPOSITORY.glob("requirements/*.lock"), *REPOSITORY.glob("container/**/*.lock")])

# An engine whose images are the lines of the file `images` beside it. It notes what it is asked to build, where `build`
# succeeds unless there is a file `broken`; a registry answers if there is a file `registry`.
FAKE_ENGINE = """\
#!/bin/sh
here=${0%/*}
case "$1 $2" in
  "image inspect") exec grep -qxF "$3" "$here/images" ;;
  "image ls") exec cat "$here/images" ;;
  "image rm") grep -vxF "$3" "$here/images" > "$here/left"; mv "$here/left" "$here/images" ;;
  "manifest inspect") exec test -e "$here/registry" ;;
  build*)
    for last; do previous=$tag; tag=$context; context=$last; done
    echo "$@" > "$here/asked"
    (cd "$context" && find . -type f | sort) > "$here/context"
    if [ -e "$here/broken" ]; then echo "no space left"; exit 1; fi
    echo "STEP 1/1"
    echo "$tag" >> "$here/images" ;;
esac
"""


class FakeEngine:
    """An engine's command line tool that builds nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command = str(directory / "engine")
        Path(self.command).write_text(FAKE_ENGINE)
        Path(self.command).chmod(0o755)
        self.has("python", "localhost/nanoclaw-agent:of-another-version")

    def has(self, *images: str) -> None:
        (self.directory / "images").write_text("".join(f"{image}\n" for image in images))

    def images(self) -> set[str]:
        return set((self.directory / "images").read_text().split())

    def asked(self) -> str:
        return (self.directory / "asked").read_text()


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


async def build(engine: FakeEngine, base: str | None = None, *, browser: bool = True) -> list[str]:
    return [line async for line in build_image(engine.command, base=base, browser=browser)]


def locked(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


def test_an_image_is_named_after_what_is_in_it() -> None:
    assert re.fullmatch(r"localhost/nanoclaw-agent:[0-9a-f]{12}", image_tag())
    assert image_tag() == image_tag(browser=True)
    assert image_tag() != image_tag(browser=False)


@pytest.mark.parametrize(
    "other",
    [
        fingerprint({"a": b"1", "b": b"3"}, "x"),
        fingerprint({"a": b"1", "c": b"2"}, "x"),
        fingerprint({"a": b"1"}, "x"),
        fingerprint({"a": b"1", "b": b"2"}, "y"),
        fingerprint({"a": b"1b\0", "b": b"2"}, "x"),
    ],
)
def test_a_fingerprint_changes_with_every_name_content_and_parameter(other: str) -> None:
    assert other != fingerprint({"a": b"1", "b": b"2"}, "x") == fingerprint({"b": b"2", "a": b"1"}, "x")


@pytest.mark.anyio
async def test_an_image_that_is_there_is_not_built_again(engine: FakeEngine) -> None:
    engine.has(image_tag())
    assert await build(engine) == []


@pytest.mark.anyio
async def test_the_official_base_is_used_where_a_registry_answers(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "registry").touch()
    lines = await build(engine, browser=False)
    assert lines[-1] == "STEP 1/1"
    assert (
        f"--build-arg BASE={OFFICIAL_BASE} --build-arg WITH_BROWSER=0 --tag {image_tag(browser=False)}"
        in engine.asked()
    )


@pytest.mark.anyio
async def test_a_base_that_the_engine_has_needs_no_registry(engine: FakeEngine) -> None:
    engine.has(OFFICIAL_BASE)
    await build(engine)
    assert f"BASE={OFFICIAL_BASE}" in engine.asked()


@pytest.mark.anyio
async def test_a_named_base_is_used_even_if_the_image_is_there(engine: FakeEngine) -> None:
    engine.has(image_tag())
    await build(engine, base="my/python:3.12")
    assert "BASE=my/python:3.12 --build-arg WITH_BROWSER=1" in engine.asked()


@pytest.mark.anyio
async def test_without_any_base_the_error_says_what_to_do(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(engine.directory))
    with pytest.raises(SandboxError, match="no image registry can be reached") as caught:
        await build(engine)
    assert "--base" in caught.value.hint or "mmdebstrap" in caught.value.hint


@pytest.mark.anyio
async def test_a_build_that_fails_says_why_and_removes_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    before = engine.images()
    with pytest.raises(SandboxError, match="image could not be made: no space left"):
        await build(engine, base="python")
    assert engine.images() == before


@pytest.mark.anyio
async def test_a_build_replaces_other_versions_and_nothing_else(engine: FakeEngine) -> None:
    plain = image_tag(browser=False)
    engine.has("python", "somebody/nanoclaw-agent:1", "localhost/nanoclaw-agent:0", "localhost/nanoclaw-base:0", plain)
    await build(engine, base="python")
    assert engine.images() == {"python", "somebody/nanoclaw-agent:1", plain, image_tag()}


@pytest.mark.anyio
async def test_the_image_with_a_browser_is_preferred(engine: FakeEngine) -> None:
    assert await find_image(engine.command) is None
    engine.has(image_tag(browser=False))
    assert await find_image(engine.command) == image_tag(browser=False)
    engine.has(image_tag(browser=False), image_tag())
    assert await find_image(engine.command) == image_tag()


@pytest.mark.anyio
async def test_the_engine_is_sent_what_the_dockerfile_copies_and_no_more(engine: FakeEngine, tmp_path: Path) -> None:
    await build(engine, base="python")
    sent = {name.removeprefix("./") for name in (tmp_path / "context").read_text().split()}
    dockerfile = (recipe_directory() / "Dockerfile").read_text()
    copied = tuple(re.findall(r"^COPY (\S+) ", dockerfile, re.MULTILINE))
    assert {name for name in sent if not name.startswith(copied)} == {"Dockerfile"}
    assert all(any(name.startswith(source) for name in sent) for source in copied)


def test_the_runner_gets_five_modules_of_the_host() -> None:
    files = runner_files("python3")
    host = {name for name in files if name.startswith("lib/nanoclaw/")}
    assert host == {f"lib/nanoclaw/{name}.py" for name in ("__init__", "carriage", "errors", "providers", "wire")}
    assert "lib/nanoclaw_runner/__main__.py" in files


@pytest.mark.usefixtures("umask_077")
def test_files_are_readable_for_the_agent_whatever_the_umask(tmp_path: Path) -> None:
    write_files(tmp_path / "new", {"lib/package/module.py": b"1", "bin/command": b"2"})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert modes == {"lib": 0o755, "package": 0o755, "module.py": 0o644, "bin": 0o755, "command": 0o755}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o755


def test_image_and_toolkit_give_agents_the_same_environment_and_programs() -> None:
    dockerfile = (recipe_directory() / "Dockerfile").read_text().replace("\\\n", " ")
    [declared] = re.findall(r"^ENV (.+)$", dockerfile, re.MULTILINE)
    assert dict(pair.split("=", 1) for pair in declared.split()) == ENVIRONMENT
    [links] = re.findall(r"ln -s ((?:\.\./lib/\S+ )+)\.$", dockerfile, re.MULTILINE)
    assert {Path(link).name: link.removeprefix("../lib/") for link in links.split()} == PROGRAMS


def test_there_is_no_toolkit_before_one_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert find_toolkit() is None


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_a_hash_and_no_address(lock: Path) -> None:
    text = lock.read_text().replace("\\\n", " ")
    assert text.strip()
    assert all("--hash=sha256:" in line for line in text.splitlines())
    assert "://" not in text


def test_locks_agree_on_what_the_host_needs() -> None:
    host, dev = (locked(REPOSITORY / "requirements" / f"{kind}.lock") for kind in ("host", "dev"))
    assert host.items() <= dev.items()


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    dev = [requirement for requirement in groups["dev"] if isinstance(requirement, str)]
    wanted = {"host": [*project["project"]["dependencies"], *groups["install"]], "dev": [*dev, *groups["agent"]]}
    for kind, requirements in wanted.items():
        names = {re.split(r"[^\w.-]", requirement)[0].replace("_", "-").lower() for requirement in requirements}
        assert names <= locked(REPOSITORY / "requirements" / f"{kind}.lock").keys(), "make lock"


@pytest.mark.parametrize(("group", "lock"), [("agent", "agent.lock"), ("browser", "browser/node.lock")])
def test_programs_in_the_image_are_pinned_where_a_person_looks_for_it(group: str, lock: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    pins = dict(pin.split("==") for pin in project["dependency-groups"][group])
    assert pins.items() <= locked(REPOSITORY / "container" / lock).items()
