"""What WhatsApp needs of a machine."""

import subprocess
import sys

from nanoclaw.channels.whatsapp.requirement import lack


def test_this_machine_has_what_is_needed() -> None:
    assert lack() is None


def test_the_libraries_import_cannot_fetch_a_program() -> None:
    program = (
        "from nanoclaw.channels.whatsapp import requirement; requirement.forbid_download()\n"
        "from neonize import download\n"
        "try: download.download()\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "not fetched at run time" in done.stdout


def test_the_host_loads_nothing_of_the_library() -> None:
    program = (
        "import sys, nanoclaw.channels.whatsapp.channel, nanoclaw.channels.whatsapp.linking\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('neonize', 'google', 'magic')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
