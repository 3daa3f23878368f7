"""Reads `nanoclaw.toml`. A file that is wrong stops the start with its name, the key and the nearest valid one."""

import difflib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from nanoclaw.config.home import Home
from nanoclaw.config.settings import NetworkSettings, Settings
from nanoclaw.errors import ConfigError
from nanoclaw.hosts import parse_address, parse_pattern

_ENDPOINT = re.compile(r"https?://[^\s/@]+(/\S*)?")


@cache
def _adapter() -> TypeAdapter[Settings]:
    return TypeAdapter(Settings)  # making it takes longer than all the rest of reading the settings


@cache
def _schema() -> dict[str, Any]:
    return _adapter().json_schema()


def load_settings(home: Home) -> Settings:
    """Read `nanoclaw.toml`; a missing file means defaults.

    Raises:
        ConfigError: the file is no TOML, has an unknown key or a value of the wrong type.
    """
    try:
        text = home.settings.read_bytes()
    except FileNotFoundError:
        return Settings()
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{home.settings} is not valid TOML: {error}", "correct the line it names") from error
    _refuse_unknown_keys(home.settings, table, _schema())
    try:
        settings = _adapter().validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{home.settings}: {key}: {first['msg']}", "see docs/reference/configuration.md") from error
    _check(home, settings)
    return settings


def _check(home: Home, settings: Settings) -> None:
    if settings.runs.max_concurrent < 1:
        raise ConfigError(f"{home.settings}: runs.max_concurrent must be at least 1", "5 is the default")
    _ = settings.sandbox.memory_bytes, settings.sandbox.disk_bytes  # reading them checks them
    _check_network(home, settings.network)
    if settings.traces.endpoint and not _ENDPOINT.fullmatch(settings.traces.endpoint):
        raise ConfigError(f"{home.settings}: traces.endpoint is no address", "write it like http://127.0.0.1:4318")
    if settings.timezone:
        try:
            ZoneInfo(settings.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"{home.settings}: timezone {settings.timezone!r} is unknown", "use an IANA name such as Europe/Berlin"
            ) from error


def _check_network(home: Home, network: NetworkSettings) -> None:
    for key, entries, parse in (("allow", network.allow, parse_pattern), ("private", network.private, parse_address)):
        for entry in entries:
            try:
                parse(entry)
            except ValueError as error:
                raise ConfigError(f"{home.settings}: network.{key}: {error}", "see docs/howto/network.md") from error
    limits = (network.requests_per_minute, network.upload_megabytes_per_day, network.download_megabytes_per_day)
    if min(limits) < 1:
        raise ConfigError(
            f"{home.settings}: a limit of network must be at least 1", 'for no network, set network.policy = "none"'
        )


def _refuse_unknown_keys(path: Path, table: dict[str, Any], schema: dict[str, Any]) -> None:
    sections = schema.get("$defs", {})
    for key, value in table.items():
        known = schema["properties"]
        if key not in known:
            raise _unknown_key(path, key, list(known))
        reference = known[key].get("$ref", "").rpartition("/")[2]
        if reference and isinstance(value, dict):
            fields = sections[reference]["properties"]
            for inner in value:  # pyright: ignore[reportUnknownVariableType]
                if inner not in fields:
                    raise _unknown_key(path, f"{key}.{inner}", [f"{key}.{name}" for name in fields])


def _unknown_key(path: Path, key: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
    return ConfigError(f"{path}: unknown key {key}", hint)
