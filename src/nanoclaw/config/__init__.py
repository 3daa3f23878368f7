"""Settings, secrets and places. The only package that reads the environment.

`nanoclaw.toml` holds settings (every key has a default), `.env` holds secrets (only the names in `SECRET_NAMES`).
Nothing falls back in silence.
"""

from nanoclaw.config.home import USUAL_HOME, Home, find_home, make_private
from nanoclaw.config.loading import load_settings
from nanoclaw.config.secrets import SECRET_NAMES, SECRETS, load_secrets, parse_env
from nanoclaw.config.settings import (
    CredentialMode,
    NetworkSettings,
    PageSettings,
    RunSettings,
    SandboxName,
    SandboxSettings,
    Settings,
    TraceSettings,
    WhatsAppSettings,
)
from nanoclaw.config.surroundings import (
    command_environment,
    has_screen,
    known_timezone,
    machine_timezone,
    service_environment,
    sign_in_environment,
    systemd_directory,
    user_config_directory,
    user_data_directory,
)

__all__ = [
    "SECRETS",
    "SECRET_NAMES",
    "USUAL_HOME",
    "CredentialMode",
    "Home",
    "NetworkSettings",
    "PageSettings",
    "RunSettings",
    "SandboxName",
    "SandboxSettings",
    "Settings",
    "TraceSettings",
    "WhatsAppSettings",
    "command_environment",
    "find_home",
    "has_screen",
    "known_timezone",
    "load_secrets",
    "load_settings",
    "machine_timezone",
    "make_private",
    "parse_env",
    "service_environment",
    "sign_in_environment",
    "systemd_directory",
    "user_config_directory",
    "user_data_directory",
]
