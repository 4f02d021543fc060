"""The choices of a link, which anybody can write: what is not valid leaves the default, each by itself."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl, urlencode

import param
from panel.io.location import Location

from explorer.choices.state import FIELDS, ExplorerState
from explorer.choices.visitor_files import is_own

LENGTHS = {"box": (0, 4), "spot": (0, 2)}
LONGEST = 100  # characters of what is not ours, such as the theme
FARTHEST = 2**20  # of pixels and of steps of the grid


def restore(state: ExplorerState, search: str) -> str:
    """Take the choices of `search` ("?name=value&...") into the state; what of it is for others."""
    texts = dict(parse_qsl(search.removeprefix("?")))
    for name in FIELDS:
        if name in texts:
            with contextlib.suppress(ValueError):
                setattr(state, name, _value(state.param[name], texts[name]))
    # Without what Panel's parser fails at, as it would take the rest with it.
    others = {k: v for k, v in texts.items() if k not in FIELDS and v.isascii() and len(v) <= LONGEST}
    return f"?{urlencode(others)}" if others else ""


def own_keys(search: str) -> list[str]:
    """The files of a visitor's own that the link names, which no other page has."""
    texts = dict(parse_qsl(search.removeprefix("?")))
    return [texts[name] for name in ("network", "image") if is_own(texts.get(name, ""))]


def tolerant(parse: Callable[[str], dict]) -> Callable[[str], dict]:
    """Panel's parser, but a link that it fails at, as at words=², has no choices instead of no page."""

    def parsed(query: str) -> dict:
        try:
            return parse(query)
        except ValueError:
            return {}

    return parsed


def update_query(address: Location, **texts: str) -> None:
    """In the place of Panel's: what the address holds besides stays as it is written.

    (Panel's parses it and writes it anew, lists as Python does, which JSON is not.)
    """
    there = dict(parse_qsl(address.search.removeprefix("?")))
    address.search = f"?{urlencode(there | texts)}"


def _value(parameter: param.Parameter, text: str) -> object:
    """What the text stands for; ValueError where for nothing, also when it is assigned."""
    if isinstance(parameter, param.Integer):
        return _number(text)
    if isinstance(parameter, param.Boolean):
        return _one_of([True, False], text.capitalize())
    if isinstance(parameter, param.ListSelector):
        return list(dict.fromkeys(_one_of(parameter.objects, str(item)) for item in _items(text)))
    if isinstance(parameter, param.Selector):
        return _one_of(parameter.objects, text)
    if isinstance(parameter, param.List):
        found = [_number(str(item)) for item in _items(text)]
        if len(found) not in LENGTHS.get(parameter.name, (len(found),)):
            raise ValueError("too few or too many numbers")
        return found
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,7}", text) or abs(int(text)) > FARTHEST:
        raise ValueError("no whole number, or too far away")
    return int(text)


def _one_of(objects: Iterable, text: str) -> object:
    """That of `objects` which is written so."""
    found = {str(thing): thing for thing in objects}
    if text not in found:
        raise ValueError("none of the choices")
    return found[text]


def _items(text: str) -> list[str | int]:
    try:
        found = json.loads(text.replace("'", '"'))  # as Python writes names, too: older links have them so
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(found, list) or any(type(item) not in (str, int) for item in found):
        raise ValueError("no list of names or numbers")
    return found
