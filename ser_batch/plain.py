"""Frozen dataclasses from plain values, as TOML and JSON hold them, and back."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ser_batch.errors import ConfigError

T = TypeVar("T")


def from_plain(cls: type[T], values: Any, where: str = "") -> T:
    """An object of a dataclass, with `values` in place of its defaults.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: float = 0.0
    ...     tags: tuple[str, ...] = ()
    >>> from_plain(Point, {"x": 2, "tags": ["a"]})
    Point(x=2.0, tags=('a',))

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or one that the class refuses.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a table of options")
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown option {_dotted(where, key)}; there are {', '.join(sorted(known))}")
    for key, f in known.items():
        if key not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"option {_dotted(where, key)} is missing")
    return cls(**{key: _typed(hints[key], value, _dotted(where, key)) for key, value in values.items()})


def to_plain(value: Any) -> Any:
    """Dicts, lists and scalars that `from_plain` takes back. Options that are None are left out, as TOML has none."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(v) for f in fields(value) if (v := getattr(value, f.name)) is not None}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_toml(cls: type[T], path: Path) -> T:
    """An object of a dataclass from a TOML file.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or does not describe such an object.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from error
    try:
        return from_plain(cls, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _typed(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_plain(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if not isinstance(value, (list, tuple)) or (items[-1] is not Ellipsis and len(items) != len(value)):
            raise ConfigError(f"{where} must be a list{_length(items)}, not {value!r}")
        kinds = [items[0]] * len(value) if items[-1] is Ellipsis else items
        return tuple(
            _typed(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table, not {value!r}")
        return {key: _typed(get_args(hint)[1], item, _dotted(where, key)) for key, item in value.items()}
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where} must be {' or '.join(map(str, get_args(hint)))}, not {value!r}")
        return value
    choices = get_args(hint) or (hint,)
    if float in choices and type(value) is int:
        value = float(value)
    if (value is None and type(None) in choices) or type(value) in choices:
        return value
    names = " or ".join("none" if c is type(None) else c.__name__ for c in choices)
    raise ConfigError(f"{where} must be {names}, not {value!r}")


def _length(items: tuple) -> str:
    what = {str: "texts", int: "integers", float: "numbers"}.get(items[0], "tables")
    return f" of {what}" if items[-1] is Ellipsis else f" of {len(items)} {what}"
