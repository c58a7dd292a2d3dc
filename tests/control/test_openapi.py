"""The document that is made from the table: valid, complete, and true about what routes take and give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_server.control import openapi
from proxy_server.control.routes import PUBLIC, TABLE
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
        assert ("401" in operation["responses"]) is (route.permission != PUBLIC)
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
    assert [(p["name"], p["in"], p["required"]) for p in key] == [("id", "path", True)]
    body = DOCUMENT["paths"]["/api/keys"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"]["name"] == "notebook"


def test_examples_are_answered_by_the_server_and_the_document_is_served(tmp_path: Path) -> None:
    schema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    with alone.start(tmp_path) as control:
        served = control.ask("GET", "/api/openapi.json")
        assert served.json["paths"] == DOCUMENT["paths"]
        for route in TABLE:
            if route.page or route.gives is None or route.heavy or route.method != "GET" or route.path == "/readyz":
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
