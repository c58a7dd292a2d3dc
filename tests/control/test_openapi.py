"""The document that is made from the table: valid, complete, and true about what routes take and give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_server.control import openapi
from proxy_server.control.router import PUBLIC
from proxy_server.control.routes import TABLE
from tests.control import alone

DOCUMENT: dict[str, Any] = openapi.document(TABLE, server="http://127.0.0.1:8082")


def test_it_is_a_valid_openapi_document() -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="pip install openapi-spec-validator")
    validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_route_that_is_no_page_is_in_it() -> None:
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == {(route.method, path) for route in TABLE if not route.page for path in (route.path, *route.also)}


def test_each_operation_says_who_may_and_shows_its_example() -> None:
    names = set()
    for route in TABLE:
        if route.page:
            continue
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        names.add(operation["operationId"])
        assert operation["summary"] == route.sentence
        assert operation["x-permission"] == route.permission
        assert bool(operation["security"]) is (route.permission != PUBLIC)
        assert ("401" in operation["responses"]) is (route.permission != PUBLIC or route.method != "GET")
        assert str(route.status) in operation["responses"]
    assert len(names) == sum(not route.page for route in TABLE)


def test_parameters_are_described() -> None:
    parameters = {p["name"]: p for p in DOCUMENT["paths"]["/api/analytics/aggregate"]["get"]["parameters"]}
    assert parameters["metrics"]["explode"] is False, "between commas"
    assert parameters["filter"]["explode"] is True, "repeated"
    assert parameters["limit"]["schema"]["maximum"] == 10_000
    assert parameters["metrics"]["example"] == ["requests", "cost_usd"]
    assert "inclusive" in parameters["start"]["description"]
    key = DOCUMENT["paths"]["/api/keys/{id}"]["delete"]["parameters"]
    assert [(p["name"], p["in"], p["required"]) for p in key] == [("id", "path", True), ("If-Match", "header", False)]
    body = DOCUMENT["paths"]["/api/keys"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"]["name"] == "notebook"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, told) for path, methods in DOCUMENT["paths"].items() for method, told in methods.items()]


def test_it_tells_how_one_is_known() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "key": "http", "x-api-key": "apiKey", "session": "apiKey", "csrf": "apiKey",
    }  # fmt: skip
    for method, path, told in operations():
        by_session = [way for way in told["security"] if "session" in way]
        assert bool(by_session) is bool(told["security"]), path
        for way in by_session:
            assert ("csrf" in way) is (method != "get"), "a change by cookie needs the page's token"


def test_it_tells_of_conditions_and_of_requests_that_are_repeated() -> None:
    for method, path, told in operations():
        headers = {one["name"] for one in told["parameters"] if one["in"] == "header"}
        good = next(answer for status, answer in told["responses"].items() if status.startswith("2"))
        json_read = method == "get" and "application/json" in good["content"]
        assert ("If-None-Match" in headers) is ("304" in told["responses"]) is json_read, path
        assert ("If-Match" in headers) is ("412" in told["responses"]), path
        assert ("Idempotency-Key" in headers) is ("201" in told["responses"]), path
        assert ("ETag" in good.get("headers", {})) or not json_read, path
        assert {"400", "404", "500", "503"} <= told["responses"].keys(), path
        for status, answer in told["responses"].items():
            if status >= "400" and path != "/readyz":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (path, status)


def test_bodies_take_their_fields_and_no_others() -> None:
    for _, path, told in operations():
        if "requestBody" not in told:
            continue
        schema = told["requestBody"]["content"]["application/json"]["schema"]
        in_path = {one["name"] for one in told["parameters"] if one["in"] == "path"}
        assert schema["additionalProperties"] is False, path
        assert not in_path & schema["properties"].keys(), path
        assert not in_path & set(schema["required"]), path


def test_aliases_say_what_they_stand_for() -> None:
    aliases = {alias: route.path for route in TABLE if not route.page for alias in route.also}
    assert aliases
    for _, path, told in operations():
        assert told.get("x-alias-of") == aliases.get(path)


def test_examples_are_answered_by_the_server_and_the_document_is_served(tmp_path: Path) -> None:
    schema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    with alone.start(tmp_path) as control:
        served = control.ask("GET", "/api/openapi.json")
        assert served.json["paths"] == DOCUMENT["paths"]
        for route in TABLE:
            if route.page or route.gives is None or route.method != "GET" or route.path == "/readyz":
                continue
            if route.heavy or route.reckons:  # there is no call to answer from
                continue
            if "{" in route.path:  # which one is there is for tests of its own
                continue
            reply = control.get(f"{route.path}{route.example}")
            assert reply.status == route.status, route.path
            given = DOCUMENT["paths"][route.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            schema.validate(reply.json, {**given, "components": DOCUMENT["components"]})
        refused = control.ask("GET", "/api/keys").json
        schema.validate(refused, {"$ref": "#/components/schemas/ErrorBody", "components": DOCUMENT["components"]})
    assert msgspec.json.encode(DOCUMENT)
