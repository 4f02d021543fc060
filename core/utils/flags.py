"""The flags of a command that are the fields of a dataclass."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping
from types import NoneType
from typing import TypeVar, get_args, get_type_hints

Config = TypeVar("Config")


def add_flags(
    parser: argparse.ArgumentParser, cls: type, texts: Mapping[str, str], **choices: Collection[str]
) -> None:
    """Give the parser a flag for every field of `cls`: a number, text, truth value, or None by default.

    texts: what `--help` says of each field, before its default.
    """
    for field in dataclasses.fields(cls):
        hint = get_type_hints(cls)[field.name]
        (kind,) = set(get_args(hint) or [hint]) - {NoneType}
        how = {"type": kind, "choices": choices.get(field.name)}
        if kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        instead = "" if field.default is None else f"; by default {field.default}"
        how["help"] = (texts[field.name] + instead).replace("%", "%%")
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=field.default, **how)


def from_flags(cls: type[Config], args: argparse.Namespace) -> Config:
    """Make a `cls` of what the flags say; its own ValueError where they cannot be together."""
    return cls(**{field.name: getattr(args, field.name) for field in dataclasses.fields(cls)})


def flags(config) -> list[str]:
    """Return the arguments that make a command take the values of a dataclass."""
    found = []
    for name, value in dataclasses.asdict(config).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            found.append(f"--{flag}={value}")
    return found
