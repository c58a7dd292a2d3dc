"""Conditional requests: the ETag of what has a version, and which versions an `If-Match` allows.

An object with a version has the ETag `"v3-"` and a mark of all that is told: some of that may change without the
version (when somebody last signed in), and not everyone is told the same. A change that names it, or `"v3"` alone, in
`If-Match` is taken only while that is still the version; the function of the route gets the number as
`caller.version` and expects it in its own transaction.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy_server.control.router import Route

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_MOST_TAGS = 10
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*")
_MARK_LETTERS = 16
_OURS = re.compile(rf'"v([1-9][0-9]{{0,9}})(?:-[0-9a-f]{{{_MARK_LETTERS}}})?"')
_NO_VERSION = (-1,)  # of nothing: the function finds that the object is gone, or that it has changed


def etag(value: object) -> str | None:
    """Return the ETag of an answer that has a version; None for others."""
    version = value.get("version") if isinstance(value, dict) else getattr(value, "version", None)
    if not isinstance(version, int) or isinstance(version, bool):
        return None
    mark = hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:_MARK_LETTERS]
    return f'"v{version}-{mark}"'


def versions(header: str | None) -> tuple[int | None, ...]:
    """Return the versions that an `If-Match` allows, to be tried in turn; None is any. Raises `Invalid`.

    Weak tags and tags that are not of a version match nothing, as RFC 9110 (13.1.1) wants it.
    """
    if header is None or header.strip() == "*":
        return (None,)
    if not _LIST.fullmatch(header):
        raise Invalid("If-Match is no list of entity tags.", hint='Send If-Match: "v3", say.', code="if_match")
    tags = re.findall(_TAG, header)
    if len(tags) > _MOST_TAGS:
        raise Invalid(f"If-Match names more than {_MOST_TAGS} entity tags.", hint="Name one.", code="if_match")
    found = [match[1] for match in map(_OURS.fullmatch, tags) if match]
    return tuple(dict.fromkeys(map(int, found))) or _NO_VERSION


def versioned(table: Iterable[Route]) -> frozenset[str]:
    """Return the paths whose GET tells an object with a version: what lies under them may be changed by version."""
    return frozenset(
        path
        for route in table
        if route.method == "GET" and has_version(route.gives)
        for path in (route.path, *route.also)
    )


def has_version(kind: Any) -> bool:
    """Say whether answers of this type have a version."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return False
    return any(field.encode_name == "version" and field.type is int for field in msgspec.structs.fields(kind))


def takes_version(route: Route, paths: frozenset[str]) -> bool:
    """Say whether a change by this row is one of an object with a version."""
    if route.method not in CHANGING or route.apart:
        return False
    return any(route.path == path or route.path.startswith(f"{path}/") for path in paths if "{" in path)
