"""Parameters of a request, from query, form, path or JSON body into the struct that a route takes.

A name that the struct does not have is refused, and so is a scalar that is given twice: what is misspelt must not
silently mean the default.
"""

from __future__ import annotations

import difflib
import typing
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,199}"
"""What may stand for `{name}` in a path: nothing that is encoded, cleaned or a way up."""
_MOST_FIELDS = 100

Names = Annotated[tuple[str, ...], Meta(extra={"split": True})]
"""Names between commas; the parameter may also be repeated."""


def from_query(kind: type[Struct], query: str, path_values: Mapping[str, str]) -> Struct:
    """Return the parameters in a query string (or a form body) and in the path. Raises `Invalid`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Invalid("The parameters cannot be read.", hint="Encode them as UTF-8, at most 100 of them.") from error
    fields = _fields(kind)
    values: dict[str, Any] = dict(path_values)
    for name, text in pairs:
        _check_known(name, kind, path_values)
        if is_sequence(fields[name].type):
            parts = [part.strip() for part in text.split(",")] if splits(fields[name].type) else [text]
            values.setdefault(name, []).extend(part for part in parts if part)
        elif name in values:
            raise Invalid(f"The parameter '{name}' is given twice.", hint="Give it once.", code="parameter_repeated")
        else:
            values[name] = text
    return _build(kind, values, strict=False)


def from_json(kind: type[Struct], body: bytes, path_values: Mapping[str, str]) -> Struct:
    """Return the parameters in a JSON object and in the path. Raises `Invalid`."""
    try:
        told = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body is not JSON ({error}).", hint="Send one JSON object.", code="body") from error
    if not isinstance(told, dict):
        raise Invalid("The body is not a JSON object.", hint="Send {…}.", code="body")
    for name in told:
        _check_known(name, kind, path_values)
    return _build(kind, {**told, **path_values}, strict=True)


def _fields(kind: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _check_known(name: str, kind: type[Struct], path_values: Mapping[str, str]) -> None:
    known = [known for known in _fields(kind) if known not in path_values]
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    listed = f"Known: {', '.join(known)}." if known else "This takes no parameters."
    raise Invalid(
        f"There is no parameter '{name}'.",
        hint=f"Did you mean '{close[0]}'? {listed}" if close else listed,
        code="parameter_unknown",
    )


def _build(kind: type[Struct], values: Mapping[str, Any], *, strict: bool) -> Struct:
    ready = {}
    for name, field in _fields(kind).items():
        if name not in values:
            if field.required:
                raise Invalid(f"The parameter '{name}' is missing.", hint="Give it.", code="parameter_missing")
            continue
        try:
            ready[field.name] = msgspec.convert(values[name], type=field.type, strict=strict)
        except msgspec.ValidationError as error:
            problem = str(error).split(" - at ")[0].replace("`", "'")
            raise Invalid(f"The parameter '{name}' is wrong: {problem}.", code="parameter_value") from error
    return kind(**ready)


def is_sequence(kind: Any) -> bool:
    """Say whether a parameter of this type may be repeated."""
    bare = kind.__origin__ if typing.get_origin(kind) is Annotated else kind
    return typing.get_origin(bare) in {tuple, list}


def splits(kind: Any) -> bool:
    """Say whether a parameter of this type is a list between commas."""
    told = kind.__metadata__ if typing.get_origin(kind) is Annotated else ()
    return any(isinstance(meta, Meta) and (meta.extra or {}).get("split") for meta in told)
