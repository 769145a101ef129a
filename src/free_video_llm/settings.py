"""What the user has settled once for all commands: a command's options come first, then the
environment, then a file in the user's folder of settings."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from free_video_llm.errors import ConfigError, first_line, one_of, shown

#: The variable that names the file of one's settings.
FILE_VARIABLE = "FVL_CONFIG"
#: What can be settled, and the variable of each.
VARIABLES = {
    "model": "FVL_MODEL",
    "scorer": "FVL_SCORER",
    "device": "FVL_DEVICE",
    "plan": "FVL_PLAN",
    "base_url": "FVL_BASE_URL",
    "cache": "FVL_CACHE",
}


@dataclass(frozen=True)
class Setting:
    """A value and where it came from: a variable's name, a file's path, or neither."""

    value: str | None
    origin: str


def settings_file() -> Path:
    """Where one's settings lie: FVL_CONFIG, else in the user's folder of settings."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named).expanduser()
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "free-video-llm.toml"


def setting(name: str) -> Setting:
    """One of `VARIABLES`.

    Raises:
        ConfigError: the file cannot be read, or holds what it should not.
    """
    named = (os.environ.get(VARIABLES[name]) or "").strip()
    if named:
        return Setting(named, f"${VARIABLES[name]}")
    value = _read(settings_file()).get(name)
    return Setting(value, str(settings_file())) if value else Setting(None, "")


def all_settings() -> dict[str, Setting]:
    """Every one by name. Raises as `setting` does."""
    return {name: setting(name) for name in VARIABLES}


def settle(name: str, value: str | None) -> Path:
    """Write a value to the file of one's settings, None to take it out; the path of the file.

    Raises:
        ConfigError: there is no such setting, or the file cannot be read or written.
    """
    one_of("setting", name, VARIABLES, ConfigError)
    if value is not None and not value.strip():
        raise ConfigError(f"{name} is a text, not {shown(value)}")
    path = settings_file()
    held = _read(path, must_exist=False)
    held.pop(name, None)
    if value is not None:
        held[name] = value.strip()
    # A text in JSON's quotes and escapes is one in TOML's too.
    lines = [f"{key} = {json.dumps(held[key], ensure_ascii=False)}\n" for key in sorted(held)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text("".join(lines), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _read(path: Path, *, must_exist: bool = True) -> dict[str, str]:
    if not path.is_file():
        if must_exist and os.environ.get(FILE_VARIABLE):
            raise ConfigError(f"{FILE_VARIABLE} names {path}, which is no file")
        return {}
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {first_line(error)}") from None
    for key, value in known.items():
        one_of(f"setting in {path}", key, VARIABLES, ConfigError)
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{path}: {key} is a text, not {shown(value)}")
    return {key: value.strip() for key, value in known.items()}
