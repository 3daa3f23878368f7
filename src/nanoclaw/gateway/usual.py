"""The hosts that people expect an assistant to reach. Only data; docs/howto/network.md shows it."""

from typing import Final

from nanoclaw.hosts import Pattern, parse_pattern

USUAL_HOSTS: Final[dict[str, str]] = {
    "github.com": "code: clone, web pages",
    "api.github.com": "code: releases, issues; installers ask it for the newest version",
    "codeload.github.com": "code: archives, where github.com sends whoever asks for one",
    "*.githubusercontent.com": "code: raw files and release files, where github.com sends whoever asks for one",
    "gitlab.com": "code: clone, web pages, raw files, archives",
    "codeberg.org": "code: clone, web pages, raw files, archives",
    "pypi.org": "Python packages: pip's index",
    "files.pythonhosted.org": "Python packages: the files",
    "registry.npmjs.org": "JavaScript packages: index and files",
    "crates.io": "Rust packages: pages, and downloads by older versions of Cargo",
    "index.crates.io": "Rust packages: the index",
    "static.crates.io": "Rust packages: the files",
    "deb.debian.org": "Debian packages",
    "security.debian.org": "Debian packages",
    "archive.ubuntu.com": "Ubuntu packages",
    "security.ubuntu.com": "Ubuntu packages",
    "ports.ubuntu.com": "Ubuntu packages, for other machines than PCs",
    "*.wikipedia.org": "to look things up, in every language",
    "*.wiktionary.org": "to look words up",
    "*.wikidata.org": "to look facts up",
    "upload.wikimedia.org": "the pictures of all of these",
}
"""Patterns, and why each is there. Left out on purpose: places that exist to be written to (pastes, upload.pypi.org,
web hooks), and clouds in which anybody can rent a name."""

USUAL_PATTERNS: Final[tuple[Pattern, ...]] = tuple(map(parse_pattern, USUAL_HOSTS))
