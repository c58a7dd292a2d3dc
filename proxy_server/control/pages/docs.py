"""The reference of the interface, made on the server from the same document that programs read."""

from __future__ import annotations

import json
import shlex
from typing import Any, NamedTuple

from proxy_server.control.answers import Page

_KEY = "$CLAUDE_PROXY_API_KEY"
_PERMISSIONS = {"public": "anyone", "known": "anyone with a key or a session"}
_DEEPEST = 6
_TITLES = {
    "calls": "Calls", "live": "Live calls", "analytics": "Numbers", "providers": "Providers", "auth": "Who asks",
    "keys": "Keys", "api-keys": "Keys", "permissions": "Roles", "roles": "Roles", "system": "System",
    "version": "System", "openapi.json": "System",
}  # fmt: skip


class Parameter(NamedTuple):
    """One parameter."""

    name: str
    place: str  # path | query | body
    kind: str
    required: bool
    default: str
    description: str


class Operation(NamedTuple):
    """One route."""

    anchor: str
    method: str
    path: str
    permission: str
    sentence: str
    parameters: list[Parameter]
    curl: str
    answer: str
    media: str


def docs(document: dict[str, Any]) -> Page:
    """Return the page for an OpenAPI document."""
    groups: dict[str, list[Operation]] = {}
    base = document["servers"][0]["url"]
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if "x-alias-of" in told:
                continue
            title = _TITLES.get(told["tags"][0].split("/")[0], told["tags"][0].capitalize())
            groups.setdefault(title, []).append(_operation(path, method.upper(), told, document, base))
    values = {"groups": sorted(groups.items(), key=_place), "base": base}
    return Page("docs.html", "API reference", values, current="docs")


def _place(group: tuple[str, object]) -> int:
    titles = list(_TITLES.values())
    return titles.index(group[0]) if group[0] in titles else len(titles)


def _operation(path: str, method: str, told: dict[str, Any], document: dict[str, Any], base: str) -> Operation:
    schemas = document["components"]["schemas"]
    parameters = [
        Parameter(
            one["name"], one["in"], kind_of(one["schema"], schemas), one["required"], _default(one["schema"]),
            one.get("description") or one["schema"].get("description", ""),
        )
        for one in told["parameters"]
    ]  # fmt: skip
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        parameters += _body(body["schema"], schemas, {one.name for one in parameters})
    good = next(answer for status, answer in told["responses"].items() if status < "300")
    media, content = next(iter(good["content"].items()))
    return Operation(
        anchor=told["operationId"],
        method=method,
        path=path,
        permission=_PERMISSIONS.get(told["x-permission"], told["x-permission"]),
        sentence=told["summary"],
        parameters=parameters,
        curl=_curl(path, method, told, base),
        answer=shape(content["schema"], schemas),
        media=media,
    )


def _body(schema: dict[str, Any], schemas: dict[str, Any], known: set[str]) -> list[Parameter]:
    schema = _followed(schema, schemas)
    return [
        Parameter(
            name, "body", kind_of(one, schemas), name in schema.get("required", ()), _default(one),
            one.get("description", ""),
        )
        for name, one in schema.get("properties", {}).items()
        if name not in known
    ]  # fmt: skip


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default in (None, "", []):
        return ""
    return ",".join(map(str, default)) if isinstance(default, list) else str(default)


def _curl(path: str, method: str, told: dict[str, Any], base: str) -> str:
    """Return an example as a command; ids are left to fill in."""
    query = [
        f"{one['name']}={','.join(map(str, one['example'])) if isinstance(one['example'], list) else one['example']}"
        for one in told["parameters"]
        if "example" in one
    ]
    url = base + path.replace("{", "").replace("}", "").replace("/id", "/ID").replace("/name", "/NAME")
    parts = ["curl" + ("" if method == "GET" else f" -X {method}") + (" -N" if "live" in path else "")]
    parts[0] += f" {shlex.quote(url + ('?' + '&'.join(query) if query else ''))}"
    if told["security"]:
        parts.append(f'-H "Authorization: Bearer {_KEY}"')
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        parts += [
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(body.get('example', {}), ensure_ascii=False))}",
        ]
    return " \\\n  ".join(parts)


def _followed(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
        schema = found
    return schema


def kind_of(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return a schema's type in a few words."""
    schema = _followed(schema, schemas)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_of(one, schemas) for one in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {kind_of(schema.get('items') or {}, schemas)}"
    bounds = [
        f"≥ {schema['minimum']}" if "minimum" in schema else "",
        f"≤ {schema['maximum']:,}" if "maximum" in schema else "",
    ]
    told = " ".join(one for one in bounds if one)
    return f"{schema.get('format', kind)}{f' ({told})' if told else ''}"


def shape(schema: dict[str, Any], schemas: dict[str, Any], indent: str = "", depth: int = 0) -> str:
    """Return what an answer looks like: its names, and the type where the value stands."""
    schema = _followed(schema, schemas)
    inner = f"{indent}  "
    if schema.get("properties") and depth < _DEEPEST:
        lines = [
            f"{inner}{name}: {shape(one, schemas, inner, depth + 1)}" for name, one in schema["properties"].items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if schema.get("type") == "array":
        return f"[{shape(schema.get('items') or {}, schemas, indent, depth + 1)}, …]"
    if schema.get("type") == "object":
        return f"{{name: {shape(schema.get('additionalProperties') or {}, schemas, indent, depth + 1)}, …}}"
    return kind_of(schema, schemas)
