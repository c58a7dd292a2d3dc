"""The same code on an S3-compatible store: an emulator on loopback that honours conditional PUT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lake.conftest import END, START, expected, ids, record
from ultimate_lib.clock import SystemClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake, ingest, manifest, optimize, retention, schema
from ultimate_lib.lake.delta import append
from ultimate_lib.lake.reader import missing
from ultimate_lib.settings import Record, load

moto_server = pytest.importorskip("moto.server", reason="moto with flask and flask-cors is not installed")


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        given = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
        make_bucket(given)
        yield given
    finally:
        server.stop()


def make_bucket(given: dict[str, str]) -> None:
    import boto3

    boto3.client(
        "s3",
        endpoint_url=given["AWS_ENDPOINT_URL"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    ).create_bucket(Bucket="calls")


def open_s3(folder: Path, environment: dict[str, str]) -> Lake:
    overrides = {"data.folder": str(folder), "data.lake_url": "s3://calls/lake"}
    return Lake.open(load(environ=environment, overrides=overrides), SystemClock())


def test_a_lake_in_an_object_store(tmp_path: Path, environment: dict[str, str]) -> None:
    lake = open_s3(tmp_path, environment)
    other = open_s3(tmp_path / "another machine", environment)
    assert ids(lake) == []
    writer = JournalWriter(lake.journal_dir, "0", Record(), SystemClock())
    for number in range(3):
        writer.call(record(number))
    assert ids(lake) == expected(3), "from the tail"
    writer.close()
    assert ingest.run_once(lake).rows == 3
    assert ingest.run_once(lake).rows == 0
    assert append(other, schema.frame_from_records([record(3)]), transaction=("w", 1)) is not None
    assert append(lake, schema.frame_from_records([record(3)]), transaction=("w", 1)) is None
    assert ids(other) == ids(lake) == expected(4)
    assert optimize._merge(lake, lake.calls, list(lake.calls.snapshot().files)) == 2
    assert ids(other) == expected(4)
    assert optimize.maintain(lake).healed == 1, "the table's first log file"
    lake.calls.checkpoint()
    optimize.maintain(lake)
    assert ids(open_s3(tmp_path, environment)) == expected(4)
    assert manifest.scrub(lake).bad == ()
    assert lake.calls.vacuum(0) >= 2
    (file,) = lake.calls.snapshot().files
    lake.storage.write(lake.calls.path(file), b"overwritten by a stranger")
    assert manifest.scrub(lake).rows_missing == 4
    assert ids(lake) == []
    assert missing(lake, START, END) == (1, 4)
    lake.clock = type("Later", (), {"now": staticmethod(lambda: END.replace(year=2036))})()
    assert retention.drop(lake, 30).files == 1


def test_a_store_that_is_not_there_is_a_sentence(tmp_path: Path, environment: dict[str, str]) -> None:
    lake = open_s3(tmp_path, {**environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    lake.storage.options["max_retries"] = "0"  # else the store's client goes on for a quarter of a minute
    with pytest.raises(Unavailable, match="does not answer"):
        append(lake, schema.frame_from_records([record(1)]))
