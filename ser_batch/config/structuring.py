"""Conversion between frozen dataclasses and the plain values of TOML and JSON.

msgspec checks the types; this module checks for unknown keys, which msgspec does not.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from ser_batch.errors import ConfigError
from ser_batch.text import did_you_mean

T = TypeVar("T")

FORMAT = 1
"""Format of configuration and recipe files: their `format`, or 1 if they have none."""


def from_plain(cls: type[T], values: Any, where: str = "") -> T:
    """Return an instance of a dataclass, with `values` instead of its defaults.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     x: float = 0.0
    ...     tags: tuple[str, ...] = ()
    >>> from_plain(Point, {"x": 2, "tags": ["a"]})
    Point(x=2.0, tags=('a',))

    Args:
        cls: the dataclass; its fields may be dataclasses too.
        values: a mapping.
        where: the key of the values in a larger configuration, for messages.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or one that the class
            rejects. `option` is the key.
    """
    for key, known in _unknown_keys(cls, values, where):
        raise ConfigError(
            f"unknown option {key}; choose from {', '.join(sorted(known))}"
            + did_you_mean(key.rpartition(".")[2], known),
            option=key,
        )
    try:
        return msgspec.convert(values, cls)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise _readable(error, cls, where) from None


def to_plain(value: Any) -> Any:
    """Return dicts, lists and scalars that `from_plain` converts back.

    Fields that are None are left out, since TOML has no null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: to_plain(v) for name, v in pairs if v is not None}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def read_toml(cls: type[T], path: Path) -> T:
    """Read an instance of a dataclass from a TOML file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, is of another format, or does
            not match the dataclass.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(message, path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}", path=path) from error
    if (number := values.pop("format", FORMAT)) != FORMAT:
        raise ConfigError(
            f"{path}: format {number}; this version reads format {FORMAT}: use the "
            "version of ser that the file was written for",
            path=path,
            option="format",
        )
    try:
        return from_plain(cls, values)
    except ConfigError as error:
        message = f"{path}: {error}"
        raise ConfigError(message, path=path, option=error.option) from error


def _unknown_keys(hint: Any, values: Any, where: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each key unknown to a dataclass, along with the known ones."""
    if get_origin(hint) is tuple and isinstance(values, list):
        for i, value in enumerate(values):
            yield from _unknown_keys(get_args(hint)[0], value, f"{where}[{i}]")
    if not (is_dataclass(hint) and isinstance(values, Mapping)):
        return
    hints = get_type_hints(hint)
    for key, value in values.items():
        dotted = f"{where}.{key}" if where else str(key)
        if key not in hints:
            yield dotted, set(hints)
        else:
            yield from _unknown_keys(hints[key], value, dotted)


def _readable(error: msgspec.ValidationError, cls: Any, where: str) -> ConfigError:
    """Translate an error of msgspec into the terms of a configuration file."""
    message, _, place = str(error).partition(" - at `$")
    inner = place.removesuffix("`").lstrip(".")
    key = ".".join(filter(None, (where, inner)))
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        key = f"{key}.{missing[1]}" if key else missing[1]
        return ConfigError(f"option {key} is missing", option=key)
    if choices := _choices(cls, inner):
        value = message.partition("Invalid enum value ")[2] or "another type"
        wanted = " or ".join(map(str, choices))
        guess = did_you_mean(value.strip("'"), map(str, choices))
        return ConfigError(f"{key} must be {wanted}, not {value}{guess}", option=key)
    plain = message.replace("`", "")
    for theirs, ours in (("object", "table"), ("array", "list"), ("null", "none")):
        plain = plain.replace(theirs, ours)
    return ConfigError(f"{key or 'configuration'}: {plain.lower()}", option=key)


def _choices(hint: Any, key: str) -> tuple[Any, ...]:
    """Return the permitted values of an option, if it is a Literal."""
    for name in filter(None, re.split(r"[.\[]", key)):
        if is_dataclass(hint):
            hint = get_type_hints(hint).get(name)
        elif get_origin(hint) is tuple:
            hint = get_args(hint)[0]
    hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(
        value
        for kind in hints
        if get_origin(kind) is Literal
        for value in get_args(kind)
    )
