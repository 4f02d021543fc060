"""The choices in the page's URL. Anybody can write one: an invalid value leaves its default, and is named."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode

import param

from explorer.choices.state import FIELDS, ExplorerState
from explorer.choices.visitor_files import is_uploaded
from explorer.server.address import Address
from explorer.server.document_queue import held

LENGTHS = {"box": (0, 4), "spot": (0, 2)}
MAX_COORDINATE = 2**20  # of pixels and of steps of the grid


def follow(address: Address, state: ExplorerState) -> None:
    """Keep `address.search` and the choices the same from now on; its other parameters stay."""
    under_way = False  # so that neither answers the other

    def write(*changes: param.parameterized.Event) -> None:
        nonlocal under_way
        if not under_way:
            under_way = True
            texts = _texts(address.search) | {change.name: _text(change.new) for change in changes}
            address.search = f"?{urlencode(texts)}"
            under_way = False

    @held
    def read(change: param.parameterized.Event) -> None:
        nonlocal under_way
        if not under_way:
            under_way = True
            restore(state, change.new)
            under_way = False

    state.param.watch(write, FIELDS, precedence=1)  # last: what a choice starts is said before its link
    address.param.watch(read, "search")


def restore(state: ExplorerState, search: str) -> list[str]:
    """Copy the choices of `search` ("?name=value&...") into the state; list those that cannot be."""
    texts, refused = _texts(search), []
    for name in FIELDS:
        if name in texts:
            try:
                setattr(state, name, _value(state.param[name], texts[name]))
            except ValueError:
                refused.append(name)
    return refused


def uploaded_keys(search: str) -> list[str]:
    """List the uploaded files that the link names, which no other page has; not networks of the server."""
    texts = _texts(search)
    found = [texts.get("network", ""), texts.get("image", "")]
    with contextlib.suppress(ValueError):
        found += map(str, _items(texts.get("calibration", "[]")))
    return [key for key in found if is_uploaded(key)]


def _texts(search: str) -> dict[str, str]:
    return dict(parse_qsl(search.removeprefix("?")))


def _text(value: object) -> str:
    """Write a choice as `_value` reads it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _value(parameter: param.Parameter, text: str) -> object:
    """Parse the text of a parameter; ValueError where it is invalid, also when it is assigned."""
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
    if not re.fullmatch(r"-?[0-9]{1,7}", text) or abs(int(text)) > MAX_COORDINATE:
        raise ValueError("no whole number, or too far away")
    return int(text)


def _one_of(objects: Iterable, text: str) -> object:
    """Return the one of `objects` whose text this is."""
    found = {str(thing): thing for thing in objects}
    if text not in found:
        raise ValueError("none of the choices")
    return found[text]


def _items(text: str) -> list[str | int]:
    try:
        with contextlib.suppress(json.JSONDecodeError):
            return _plain(json.loads(text))
        return _plain(json.loads(text.replace("'", '"')))  # as Python writes names: older links have them so
    except RecursionError as error:
        raise ValueError("too deep") from error


def _plain(found: object) -> list[str | int]:
    if not isinstance(found, list) or any(type(item) not in (str, int) for item in found):
        raise ValueError("no list of names or numbers")
    return found
