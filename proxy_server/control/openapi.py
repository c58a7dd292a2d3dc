"""The table of routes as an OpenAPI 3.1 document: paths, parameters, bodies, answers, errors, permissions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from proxy_server.control.conditions import CHANGING, has_version, takes_version, versioned
from proxy_server.control.params import SEGMENT, is_sequence, splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy_server.control.router import Route

_TEMPLATE = "#/components/schemas/{name}"
_ERRORS = {
    "400": "The request is wrong.",
    "401": "The caller is not known.",
    "403": "The caller may not do this.",
    "404": "There is no such thing.",
    "409": "This does not fit what is there already, or the same request is still under way.",
    "412": "The object has another version than If-Match names.",
    "422": "The request is well-formed, but cannot be done.",
    "429": "This was tried too often; Retry-After says how long to wait.",
    "500": "This failed on our side.",
    "503": "A part that this needs is not there now.",
}
_OF_KNOWN = {"401", "403"}
_OF_CHANGES = {"409", "422", "429"}
_IF_NONE_MATCH = "The ETag of what the client has; 304 when that is still so."
_IF_MATCH = "The ETag that the object must still have, or *; 412 when it has changed. Without it: any."
_IDEMPOTENCY_KEY = "A new random name for what is to be made: asked again within a day, it is made and answered once."
_CSRF = "`csrf_token` of /api/auth/verify. Browsers also send their Origin, which must be ours."
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key: cp_ and 43 characters."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-ultimate",
        "description": "A browser's session; on plain http://localhost the name is `ultimate-` and the port.",
    },
    "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": _CSRF},
}


class _Told(msgspec.Struct):
    code: str
    message: str
    hint: str
    request_id: str


class ErrorBody(msgspec.Struct):
    """What every refusal looks like."""

    error: _Told


def document(table: Sequence[Route], *, server: str) -> dict[str, Any]:
    """Return the document for the routes that speak JSON or text; pages are not in it."""
    routes = [route for route in table if not route.page]
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    known = versioned(table)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in (route.path, *route.also):
            paths.setdefault(path, {})[route.method.lower()] = _operation(
                route, path, schema_of, components, by_version=takes_version(route, known)
            )
    told = {
        "openapi": "3.1.0",
        "info": {
            "title": "Ultimate Proxy",
            "version": "1",
            "description": "Numbers, keys and state. Model calls go to /v1 in their own protocols.",
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": _SCHEMES,
        },
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(told))  # defaults that are tuples become arrays
    return plain


def _types(routes: Iterable[Route]) -> list[Any]:
    found: dict[str, Any] = {repr(ErrorBody): ErrorBody}
    for route in routes:
        for kind in (route.takes, route.gives):
            if kind is not None:
                found[repr(kind)] = kind
    return list(found.values())


def _operation(
    route: Route, path: str, schema_of: dict[str, Any], components: dict[str, Any], *, by_version: bool
) -> dict[str, Any]:
    in_path = re.findall(r"\{(\w+)\}", path)
    properties = components[route.takes.__name__].get("properties", {})
    operation: dict[str, Any] = {
        "operationId": _name(route.method, path),
        "summary": route.sentence,
        "tags": [path.split("/")[2] if path.startswith("/api/") else "system"],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": _segment(properties[name])}
                for name in in_path
            ),
            *_conditions(route, by_version=by_version),
        ],
        "responses": _responses(route, schema_of, by_version=by_version),
        "x-permission": route.permission,
        "security": _security(route),
    }
    if path != route.path:
        operation["x-alias-of"] = route.path
    fields = {f.encode_name: f for f in msgspec.structs.fields(route.takes) if f.encode_name not in in_path}
    if route.method in {"GET", "DELETE"}:
        examples = dict(parse_qsl(route.example.removeprefix("?")))
        for name, field in fields.items():
            operation["parameters"].append(_parameter(name, field, properties[name], examples))
    elif fields:
        content: dict[str, Any] = {"schema": _body(components[route.takes.__name__], in_path)}
        if route.example:
            content["example"] = msgspec.json.decode(route.example)
        needed = any(field.required for field in fields.values())
        operation["requestBody"] = {"required": needed, "content": {"application/json": content}}
    return operation


def _segment(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "pattern": f"^{SEGMENT}$"}


def _body(schema: dict[str, Any], in_path: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a JSON body: of the fields that are not in the path, and of no others."""
    told = {**schema, "properties": {k: v for k, v in schema["properties"].items() if k not in in_path}}
    told["required"] = [name for name in schema.get("required", []) if name not in in_path]
    return {**told, "additionalProperties": False}


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.permission == "public":
        return []
    session: dict[str, list[str]] = {"session": []}
    if route.method in CHANGING:
        session["csrf"] = []
    return [{"key": []}, {"x-api-key": []}, session]


def _conditions(route: Route, *, by_version: bool) -> list[dict[str, Any]]:
    """Return the headers that make a request conditional, or one with those sent before."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    if route.method == "GET" and route.gives is not None:
        found.append(("If-None-Match", _IF_NONE_MATCH, {"type": "string"}))
    if by_version:
        found.append(("If-Match", _IF_MATCH, {"type": "string", "examples": ['"v3"']}))
    if route.creates:
        shape = {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 255}
        found.append(("Idempotency-Key", _IDEMPOTENCY_KEY, shape))
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for name, text, schema in found
    ]


def _parameter(
    name: str, field: msgspec.structs.FieldInfo, schema: dict[str, Any], examples: dict[str, str]
) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": field.required, "schema": schema}
    if "description" in schema:
        parameter["description"] = schema["description"]
    if is_sequence(field.type):
        parameter |= {"style": "form", "explode": not splits(field.type)}
    if name in examples:
        parameter["example"] = examples[name].split(",") if is_sequence(field.type) else examples[name]
    return parameter


def _responses(route: Route, schema_of: dict[str, Any], *, by_version: bool) -> dict[str, Any]:
    content: dict[str, Any] = {route.media: {"schema": {"type": "string"}}}
    if route.gives is not None:
        content = {"application/json": {"schema": schema_of[repr(route.gives)]}}
    answer: dict[str, Any] = {"description": route.sentence, "content": content}
    answers: dict[str, Any] = {str(route.status): answer}
    reads = route.method == "GET" and route.gives is not None
    if reads or has_version(route.gives):
        text = "Of a version, or of the content of what has none."
        answer["headers"] = {"ETag": {"description": text, "schema": {"type": "string"}}}
    if reads:
        answers["304"] = {"description": "Nothing has changed since the ETag in If-None-Match."}
    if route.creates:
        text = "`true` when this was answered before, to a request with the same Idempotency-Key."
        answer.setdefault("headers", {})["Idempotent-Replayed"] = {"description": text, "schema": {"type": "string"}}
    refusal = {"application/json": {"schema": schema_of[repr(ErrorBody)]}}
    left_out = _OF_KNOWN if route.permission == "public" and route.method == "GET" else set()
    left_out = left_out | (set() if route.method in CHANGING else _OF_CHANGES) | (set() if by_version else {"412"})
    for number, sentence in route.refuses:
        answers[str(number)] = {"description": sentence, "content": refusal}
    for status, sentence in _ERRORS.items():
        if status not in left_out:
            answers.setdefault(status, {"description": sentence, "content": refusal})
    return answers


def _name(method: str, path: str) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", path.removeprefix("/api")) if word]
    return "_".join([method.lower(), *words])
