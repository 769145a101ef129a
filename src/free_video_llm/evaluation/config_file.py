"""Reads and writes the YAML files of configurations, ours and the released ones.

YAML comes from strangers: tags, merge keys and long files are refused, and nothing is run. What the
values mean is left to `config.py` and `released_config.py`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from free_video_llm.errors import ConfigError
from free_video_llm.evaluation.config import RunConfig
from free_video_llm.evaluation.released_config import from_released, is_released
from free_video_llm.evaluation.sweep import expand

#: A configuration has some fifty lines.
MAX_BYTES = 1_000_000

#: Configurations that come with the package.
CONFIGS = Path(__file__).parent / "configs"


def read_config(path: str | Path) -> RunConfig:
    """Read a YAML file of one run, ours or a released one; see `read_configs`.

    Raises:
        ConfigError: it cannot be read, an entry is wrong, or it is a sweep of several runs.
    """
    return _only(read_configs(path), str(path))


def read_configs(path: str | Path) -> list[RunConfig]:
    """Read a YAML file, ours or a released one: one run, or, where it has lists, each of a sweep's
    (`sweep.py`); `configs/NAME.yaml` is one of the package's own where there is no such file.

    Raises:
        ConfigError: it cannot be read, or an entry is wrong.
    """
    path = _found(Path(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path} is longer than {MAX_BYTES:,} bytes: not a configuration")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    try:
        return parse_configs(text, name=default_name(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _only(configs: list[RunConfig], name: str) -> RunConfig:
    if len(configs) > 1:
        raise ConfigError(f"{name} is a sweep of {len(configs)} runs: name a file of one")
    return configs[0]


def _found(path: Path) -> Path:
    """The file that a path names: the user's, or the package's own of that name."""
    ours = CONFIGS / path.name
    return ours if path.parent == Path("configs") and not path.exists() and ours.exists() else path


def parse_config(text: str, *, name: str) -> RunConfig:
    """Read YAML text of one run; `name` is used where it gives none (or "auto")."""
    return _only(parse_configs(text, name=name), name)


def parse_configs(text: str, *, name: str) -> list[RunConfig]:
    """Read YAML text, ours or a released one: one run, or each of a sweep's."""
    data = load_yaml(text)
    if not isinstance(data, dict):
        raise ConfigError(
            f"a configuration is a mapping of keys to values, not {type(data).__name__}"
        )
    if is_released(data):
        return [from_released(data, name=name)]
    return [RunConfig.from_dict(one, name=name) for one in expand(data, name=name)]


def print_config(config: RunConfig) -> str:
    """YAML text that `parse_config` reads back to an equal configuration."""
    values = config.to_dict()
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def default_name(path: Path) -> str:
    """A run's name from its file's: what does not belong into a folder's name becomes `_`."""
    name = re.sub(r"[^A-Za-z0-9._+@=,-]+", "_", path.stem).lstrip(".-+@=,")[:150]
    return name or "run"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which builds plain values only; a key given twice is an error."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes texts that only `_Loader` would take for numbers."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            # Merges of merges grow without bound from a few lines, and no configuration needs one.
            raise ConfigError(f"line {key.start_mark.line + 1}: merge keys (<<) are not read")
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise ConfigError(f"line {key.start_mark.line + 1}: key {key.value!r} comes twice")
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


#: Numbers as people write them: no base 60 ("1:59:59" is a text), which YAML 1.2 dropped too.
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float"))]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), list("-+0123456789")
)
_FLOAT = re.compile(
    r"(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,4})?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
for _end in (_Loader, _Dumper):
    _end.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def load_yaml(text: str) -> Any:
    """Plain values of a YAML text. Raises ConfigError in one line; tags are refused."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"not readable YAML: {line}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"not readable YAML: {first}") from None
