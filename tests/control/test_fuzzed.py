"""Thousands of requests made from the document: none fails on our side, each answer is one that the document tells.

A sample in every run; in full with `make heavy`. Left out is `/api/live` alone, which never ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

pytest.importorskip("schemathesis", reason="pip install schemathesis")

from proxy_server.control.routes import TABLE
from tests.control.fuzzing import NEVER_ENDS, Fuzzed, ask, fuzz
from tests.harness import Running, start_proxy

CALLERS = ("admin", "viewer", "nobody")


class Filled(NamedTuple):
    proxy: Running
    keys: dict[str, str]
    real: dict[str, list[str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A running proxy with one object of each kind to be changed and ended by what is made up."""
    with start_proxy(tmp_path_factory.mktemp("fuzzed")) as proxy:
        user = ask(proxy.url, proxy.key, "POST", "/api/users", {"name": "victim", "roles": {"viewer": "all"}})["id"]
        viewer = ask(proxy.url, proxy.key, "POST", "/api/users", {"name": "viewer", "roles": {"viewer": "all"}})["id"]
        told = {"name": "fuzz", "user_id": viewer, "scopes": ["dashboards:view", "analytics:view", "reports:view"]}
        key = ask(proxy.url, proxy.key, "POST", "/api/keys", told)["key"]
        team = ask(proxy.url, proxy.key, "POST", "/api/teams", {"name": "victims"})["id"]
        victim = ask(proxy.url, proxy.key, "POST", "/api/keys", {"name": "victim"})["about"]["id"]
        real = {"users": [user], "teams": [team], "keys": [victim], "api-keys": [victim]}
        yield Filled(proxy, {"admin": proxy.key, "viewer": key, "nobody": ""}, real)


def sent(filled: Filled, caller: str, each: int, of_seed: int) -> Fuzzed:
    found = fuzz(filled.proxy.url, filled.keys[caller], each=each, real=filled.real, of_seed=of_seed)
    assert not found.failures, "\n\n".join(found.failures)
    assert '"level": "error"' not in filled.proxy.log(), filled.proxy.log()[-5000:]
    documented = {f"{route.method} {path}" for route in TABLE if not route.page for path in (route.path, *route.also)}
    assert found.operations == {one for one in documented if one.partition(" ")[2] not in NEVER_ENDS}
    return found


@pytest.mark.parametrize("caller", CALLERS)
def test_a_sample_of_made_up_requests(filled: Filled, caller: str) -> None:
    found = sent(filled, caller, each=2, of_seed=1)
    assert found.cases >= len(found.operations)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_thousands_of_made_up_requests(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    cases, statuses = 0, Counter[int]()
    for number, caller in enumerate(CALLERS):
        found = sent(filled, caller, each=60, of_seed=100 + number)
        cases += found.cases
        statuses += found.statuses
        with capsys.disabled():
            print(f"\n{caller}: {found.cases} cases, {len(found.operations)} operations, {dict(found.statuses)}")
    assert cases >= 5000
    assert {200, 201, 304, 400, 401, 403, 404, 412} <= statuses.keys(), "else too little was reached"
    assert not {status for status in statuses if status >= 500}
