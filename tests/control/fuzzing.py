"""Requests made from the OpenAPI document by schemathesis, good and bad ones, sent to a running proxy."""

from __future__ import annotations

import json
import random
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import checks

checks.load_all_checks()
NEVER_ENDS = {"/api/live"}
"""Left out: a stream that goes on until its client leaves. Logging out is in: keys have no session to end."""
CHECKS = [
    checks.not_a_server_error,
    *checks.CHECKS.get_by_names(
        [
            "status_code_conformance",
            "content_type_conformance",
            "response_headers_conformance",
            "response_schema_conformance",
        ]
    ),
]
"""Not whether bad data are refused: half of the cases get an id that exists, and all get the key, afterwards."""
DOWN = {503}  # said in the document; a proxy that works never says it


class Fuzzed:
    """What was sent, and what came of it."""

    def __init__(self) -> None:
        self.cases = 0
        self.statuses: Counter[int] = Counter()
        self.operations: set[str] = set()
        self.failures: list[str] = []


def ask(url: str, key: str, method: str, path: str, told: Any = None) -> Any:
    """Send one request with a key and return its JSON."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = json.dumps(told).encode() if told is not None else None
    with urllib.request.urlopen(
        urllib.request.Request(url + path, data, headers, method=method), timeout=30
    ) as reply:
        return json.load(reply)


def fuzz(url: str, key: str, *, each: int, real: dict[str, list[str]], of_seed: int = 0) -> Fuzzed:
    """Send `each` cases to each operation; half of them name an object that is there, by its path's first word."""
    schema = schemathesis.openapi.from_dict(ask(url, key, "GET", "/api/openapi.json"))
    found = Fuzzed()
    with requests.Session() as session:
        session.trust_env = False
        sent = {"Authorization": f"Bearer {key}", "x-api-key": key} if key else {}
        for operation in _operations(schema):
            found.operations.add(operation.label)
            _one(operation, url, session, found, sent, each=each, real=real, of_seed=of_seed)
    return found


def _operations(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in NEVER_ENDS:
            yield operation


def _one(
    operation: Any,
    url: str,
    session: requests.Session,
    found: Fuzzed,
    sent: dict[str, str],
    *,
    each: int,
    real: dict[str, list[str]],
    of_seed: int,
) -> None:
    good = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    takes = any(True for _ in operation.iter_parameters()) or operation.body
    bad = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE) if takes else good
    ids = real.get(operation.path.removeprefix("/api/").partition("/")[0], [])
    chance = random.Random(of_seed)

    @seed(of_seed)
    @settings(
        max_examples=each,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(good, bad))
    def run(case: Any) -> None:
        if ids and case.path_parameters and chance.random() < 0.5:
            case.path_parameters = {**case.path_parameters, "id": chance.choice(ids)}
        response = case.call(base_url=url, session=session, timeout=30, headers=sent)
        found.cases += 1
        found.statuses[response.status_code] += 1
        try:
            assert response.status_code not in DOWN, f"{response.status_code}: {response.text[:300]}"
            case.validate_response(response, checks=CHECKS)
        except (AssertionError, schemathesis.errors.SchemathesisError, *_FAILURES) as error:
            if sum(one.startswith(operation.label) for one in found.failures) < 2:
                found.failures.append(f"{operation.label}: {error}\n{case.as_curl_command()}")

    run()


_FAILURES: tuple[type[BaseException], ...] = (checks.Failure, checks.FailureGroup)
