"""Runs `claude-proxy` as a person would: a process of its own, in a home of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT, environment


class Done:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err
        assert "Traceback" not in err, err


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "claude_proxy", *arguments]


def claude_proxy(
    home: Path, *arguments: str, url: str = "", key: str = "", stdin: str = "", env: dict[str, str] | None = None
) -> Done:
    place = {name: value for name, value in {"CLAUDE_PROXY_URL": url, "CLAUDE_PROXY_API_KEY": key}.items() if value}
    done = subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(home, {**place, **(env or {})}), input=stdin,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)
