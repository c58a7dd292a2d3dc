"""What the seed document shows works word for word, against a started server with seven weeks of calls.

The address alone differs: the document says port 8082, the test's server takes a free one.
"""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.client.commands import Done, claude_proxy
from tests.control import calls
from tests.control.calls import call
from tests.harness import ROOT, Running, environment, start_proxy, wait_until
from ultimate_lib.access import local
from ultimate_lib.access.keys import create_key
from ultimate_lib.access.principal import Principal
from ultimate_lib.access.roles import permissions_of
from ultimate_lib.clock import SystemClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store

PORT = "http://localhost:8082"

pytestmark = pytest.mark.slow  # a process for each of its lines

_DAYS, _A_DAY = 50, 24  # around the clock, so that at any hour something is to be expected of the rest of the day


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("seed")
    (folder / "data").mkdir()
    settings = load(environ={}, overrides={"data.folder": str(folder / "data")})
    store, dice = Store(settings.store_url), random.Random(1)
    store.migrate()
    admin = local.first_start(settings, store, SystemClock()).user_id
    _, key = create_key(
        store, SystemClock(), Principal(user_id=admin, user_name="", permissions=permissions_of(["api_user"])),
        name="seed", scopes=["proxy:call"],
    )  # fmt: skip
    store.close()
    newest = datetime.now(UTC) - timedelta(minutes=5)
    records = [
        call(
            newest - timedelta(days=day, hours=number), user_id=admin, key_id=key["id"], provider="anthropic",
            model_routed="claude-sonnet-4-5", cost_nano_usd=int(dice.lognormvariate(16, 0.5)),
        )
        for day in range(_DAYS)
        for number in range(_A_DAY)
    ]  # fmt: skip
    calls.write(settings, *records)
    with start_proxy(folder) as running:
        wait_until(lambda: _whole(running), 60, running)
        yield running


def _whole(proxy: Running) -> bool:
    rows = proxy.get("/api/analytics/aggregate?metrics=requests&start=2020-01-01")["rows"]
    return bool(rows) and rows[0]["requests"] == _DAYS * _A_DAY


def shell(proxy: Running, home: Path, line: str) -> Done:
    """Run a line of the document as a shell would."""
    program, *arguments = shlex.split(line)
    assert program == "claude-proxy"
    return claude_proxy(home, *arguments, url=proxy.url, key=proxy.key)


def python(proxy: Running, home: Path, text: str) -> str:
    """Run lines of the document in a process of its own, and return what they print."""
    env = environment(home, {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key})
    code = text.replace(PORT, proxy.url)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def post(proxy: Running, path: str, told: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        proxy.url + path,
        data=json.dumps(told).encode(),
        headers={"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def busiest(proxy: Running) -> tuple[str, str]:
    """Return the key and model that were called most."""
    path = "/api/analytics/breakdown?by=key,model&metrics=requests&limit=20&start=2020-01-01"
    row = next(row for row in proxy.get(path)["rows"] if row["key"] and row["model"] == "claude-sonnet-4-5")
    return row["key"], row["model"]


# -- REST ----------------------------------------------------------------------------------------------------------


def test_get_api_predictive_forecast(proxy: Running) -> None:
    told = proxy.get("/api/predictive/forecast")
    assert len(told["rows"]) == 7
    assert told["summary"]["total_cost"] > 0


def test_get_api_predictive_thresholds(proxy: Running) -> None:
    told = proxy.get("/api/predictive/thresholds")
    assert 0 < told["warning"] < told["critical"]


def test_post_api_predictive_detect_anomaly(proxy: Running) -> None:
    key, model = busiest(proxy)
    usual = post(proxy, "/api/predictive/detect-anomaly", {"key_id": key, "model": model, "cost_usd": 0.001})
    assert (usual["is_anomaly"], usual["action"]) == (False, "none")
    told = {"key_id": key, "model": model, "cost_usd": usual["expected_high"] * 100}
    found = post(proxy, "/api/predictive/detect-anomaly", told)
    assert found["is_anomaly"]
    assert found["action"] in {"none", "warn", "block"}
    assert found["score"] > found["limit"]


def test_get_api_predictive_recommendations(proxy: Running) -> None:
    told = proxy.get("/api/predictive/recommendations")
    assert {one["state"] for one in told["kinds"]} <= {"found", "nothing", "too_few", "not_asked"}
    assert len(told["kinds"]) == 9
    assert told["calls"] > 0


# -- CLI -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("claude-proxy analytics --start 2026-01-01 --end 2026-01-05", "2026-01-01 to 2026-01-05"),
        ("claude-proxy predictive forecast --days 7", "7 days: $"),
        ("claude-proxy predictive forecast --days 30", "30 days: $"),
        ("claude-proxy --help", "predictive"),
    ],
)
def test_a_command_of_the_document(proxy: Running, tmp_path: Path, line: str, words: str) -> None:
    done = shell(proxy, tmp_path, line)
    assert done.status == 0, done.err
    assert words in done.out


# -- SDK -----------------------------------------------------------------------------------------------------------


def test_the_client_predicts_and_tells_the_risk(proxy: Running, tmp_path: Path) -> None:
    said = python(
        proxy,
        tmp_path,
        """
from claude_proxy import ClaudeProxyClient
client = ClaudeProxyClient(base_url="http://localhost:8082")
forecast = client.get_predictions(days=7)
print(f"Predicted cost: ${forecast['summary']['total_cost']:.2f}")
forecast = client.get_predictions(7)
print(forecast.risk_level, forecast.cost_prediction == forecast["summary"]["total_cost"])
""",
    )
    first, second = said.splitlines()
    assert first.startswith("Predicted cost: $")
    assert float(first.partition("$")[2]) > 0
    assert second in {f"{risk} True" for risk in ("low", "medium", "high")}


# -- Python library ------------------------------------------------------------------------------------------------


def test_the_library_checks_a_request(proxy: Running, tmp_path: Path) -> None:
    key, model = busiest(proxy)
    request = {"key_id": key, "model": model, "cost_usd": 1000.0}
    said = python(
        proxy,
        tmp_path,
        f"""
from ultimate_lib import anomaly_detector
request = {request!r}
if anomaly_detector.check_request(request).is_anomaly: print("anomaly")
""",
    )
    assert said == "anomaly\n"
