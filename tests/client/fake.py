"""A proxy that answers as it is told: a script a route, one after another, the last one for ever."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.scripted import Connection, Script, Scripted, answer

VERSION = {"version": "0.1.0", "api": 1, "demo": False}


def told(value: Any, status: int = 200, *more: str) -> Script:
    return answer(json.dumps(value).encode(), status, *more)


def refusal(status: int, message: str = "No.", *more: str, code: str = "denied", hint: str = "Do this.") -> Script:
    error = {"code": code, "message": message, "hint": hint, "request_id": "r123"}
    return told({"error": error}, status, *more)


def dropped(connection: Connection) -> None:
    connection.reset()


class Fake:
    def __init__(self) -> None:
        self._server = Scripted()
        self._server.script = self._serve
        self.url = self._server.url
        self.answers: dict[str, list[Script]] = {"GET /api/version": [told(VERSION)]}
        self.asked: list[Connection] = []

    def on(self, route: str, *scripts: Script) -> None:
        self.answers[route] = list(scripts)

    def asked_for(self, route: str) -> list[Connection]:
        return [one for one in self.asked if f"{one.method} {one.path.partition('?')[0]}" == route]

    def _serve(self, connection: Connection) -> None:
        self.asked.append(connection)
        scripts = self.answers.get(f"{connection.method} {connection.path.partition('?')[0]}", [refusal(404)])
        (scripts.pop(0) if len(scripts) > 1 else scripts[0])(connection)

    def close(self) -> None:
        self._server.close()
