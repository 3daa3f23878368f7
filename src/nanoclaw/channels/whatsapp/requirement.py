"""What WhatsApp needs of this machine, and how to get it."""

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Final

VERSION: Final = "0.5.2"
"""Of neonize. What is built on its log was tried with this one."""
OLDEST_GLIBC: Final = (2, 34)
"""Although the wheel's name says 2.17."""
_MACHINES: Final = frozenset({"x86_64", "amd64", "aarch64", "arm64"})
_LINKER_CACHE: Final = Path("/etc/ld.so.cache")
_MAC_LIBRARIES: Final = (Path("/opt/homebrew/lib"), Path("/usr/local/lib"), Path("/opt/local/lib"))
_HOW: Final = "pip install 'nanoclaw[whatsapp]', or `make install WHATSAPP=1` in a checkout"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """What is missing, and what to do."""

    what: str
    hint: str


def lack() -> Lack | None:
    """What this machine lacks for WhatsApp; None if nothing. Loads nothing of the library."""
    return _platform_lack() or _library_lack() or _magic_lack()


def _platform_lack() -> Lack | None:
    machine = platform.machine().lower()
    if sys.platform not in ("linux", "darwin") or machine not in _MACHINES:
        what = f"there is no WhatsApp library for {sys.platform} on {machine}"
        return Lack(what=what, hint="use Linux or macOS on a 64-bit Intel or ARM processor")
    if sys.platform != "linux":
        return None
    family, version = platform.libc_ver()
    if family != "glibc":
        return Lack(what="the WhatsApp library needs glibc; this system has another libc", hint="musl will not do")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC:
        return Lack(what=f"the WhatsApp library needs glibc 2.34 or newer; here is {version}", hint="Debian 12 has it")
    return None


def _library_lack() -> Lack | None:
    try:
        found = metadata.distribution("neonize")
    except metadata.PackageNotFoundError:
        return Lack(what="WhatsApp support is not installed", hint=_HOW)
    if found.version != VERSION:
        return Lack(what=f"neonize {VERSION} is needed; here is {found.version}", hint=_HOW)
    package = Path(str(found.locate_file("neonize")))
    if not any(package.glob("neonize-*.so")) and not any(package.glob("neonize-*.dylib")):
        return Lack(what="the installed neonize has no library for this machine", hint=_HOW)
    return None


def _magic_lack() -> Lack | None:
    if sys.platform == "linux":
        there = b"libmagic.so.1" in _LINKER_CACHE.read_bytes() if _LINKER_CACHE.exists() else True
        return None if there else Lack(what="libmagic is not installed", hint="apt install libmagic1")
    there = any((directory / "libmagic.dylib").exists() for directory in _MAC_LIBRARIES)
    return None if there else Lack(what="libmagic is not installed", hint="brew install libmagic")


def forbid_download() -> None:
    """Keep the library's import from fetching a program from the internet when it does not find its own."""

    def download() -> None:
        raise ImportError(f"neonize {VERSION} has no library for this machine; it is not fetched at run time")

    stand_in = ModuleType("neonize.download")
    stand_in.__dict__.update(__GONEONIZE_VERSION__=VERSION, download=download)
    sys.modules["neonize.download"] = stand_in
    os.environ.pop("SPHINX", None)  # with it the library would load nothing at all
