"""The table of routes as an OpenAPI 3.1 document: paths, parameters, bodies, answers, errors, permissions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from proxy_server.control.params import is_sequence, splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy_server.control.routes import Route

_TEMPLATE = "#/components/schemas/{name}"
_ERRORS = {
    "400": "The request is wrong.",
    "401": "The caller is not known.",
    "403": "The caller may not do this.",
    "404": "There is no such thing.",
    "500": "This failed on our side.",
    "503": "A part that this needs is not there now.",
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
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in (route.path, *route.also):
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, schema_of, components)
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
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key: cp_ and 43 characters."},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
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


def _operation(route: Route, path: str, schema_of: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    in_path = re.findall(r"\{(\w+)\}", path)
    properties = components[route.takes.__name__].get("properties", {})
    operation: dict[str, Any] = {
        "operationId": _name(route.method, path),
        "summary": route.sentence,
        "tags": [path.split("/")[2] if path.startswith("/api/") else "system"],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": properties[name]} for name in in_path
        ],
        "responses": _responses(route, schema_of),
        "x-permission": route.permission,
        "security": [] if route.permission == "public" else [{"key": []}, {"x-api-key": []}],
    }
    if path != route.path:
        operation["x-alias-of"] = route.path
    fields = {f.encode_name: f for f in msgspec.structs.fields(route.takes) if f.encode_name not in in_path}
    if route.method in {"GET", "DELETE"}:
        examples = dict(parse_qsl(route.example.removeprefix("?")))
        for name, field in fields.items():
            operation["parameters"].append(_parameter(name, field, properties[name], examples))
    elif fields:
        content: dict[str, Any] = {"schema": schema_of[repr(route.takes)]}
        if route.example:
            content["example"] = msgspec.json.decode(route.example)
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


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


def _responses(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {route.media: {"schema": {"type": "string"}}}
    if route.gives is not None:
        content = {"application/json": {"schema": schema_of[repr(route.gives)]}}
    answers: dict[str, Any] = {str(route.status): {"description": route.sentence, "content": content}}
    refusal = {"application/json": {"schema": schema_of[repr(ErrorBody)]}}
    for status, sentence in _ERRORS.items():
        if status not in {"401", "403"} or route.permission != "public":
            answers[status] = {"description": sentence, "content": refusal}
    return answers


def _name(method: str, path: str) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", path.removeprefix("/api")) if word]
    return "_".join([method.lower(), *words])
