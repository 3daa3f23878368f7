"""Run a module as `__main__`, its neonize pointed at a fake WhatsApp: `launch.py PROXY CA ROOT MODULE [ARGUMENT...]`.

PROXY is the fake's URL, CA the file with its TLS authority, ROOT the public Noise root key in hex. Go reads the
environment of the process as it was at its start, hence the second start of ourselves. The root key of WhatsApp is a
constant of the library; it lies in memory that may be written, so a test needs no hook in the product.

Stands alone (no import of `tests`): it is run by its path, from anywhere.
"""

import ctypes
import importlib
import os
import runpy
import sys
from pathlib import Path

_WHATSAPPS_ROOT = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")


def _trust(root: bytes) -> None:
    """Put our root key in the place of WhatsApp's, in the loaded library."""
    hits = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, access, *_, path = line.split(maxsplit=5) if line.count("/") else (*line.split()[:2], "")
        if "neonize-linux" not in path or "w" not in access:
            continue
        start, end = (int(edge, 16) for edge in span.split("-"))
        at = ctypes.string_at(start, end - start).find(_WHATSAPPS_ROOT)
        if at >= 0:
            ctypes.memmove(start + at, root, len(root))
            hits += 1
    if hits != 1:
        sys.exit(f"WhatsApp's root key is in {hits} places of neonize's library, not 1: is this another version?")


def main() -> None:
    """Set the environment, load the library, exchange the key, become the module."""
    proxy, authority, root, module, *arguments = sys.argv[1:]
    wanted = {"HTTPS_PROXY": proxy, "SSL_CERT_FILE": authority}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})
    importlib.import_module("neonize")  # loads the library; not before the environment is right

    _trust(bytes.fromhex(root))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


main()
