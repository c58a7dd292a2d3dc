"""Real kernels for tests: a cell's code goes in, all that it put out comes back; the front end can be faked."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.harness import Running, environment, wait_until

SECONDS = 60.0
GPT, CLAUDE = "demo/gpt-4o-mini", "demo/claude-sonnet-4-5"
GPT_INPUT, GPT_OUTPUT = 150, 600  # nano-dollars a token
CLAUDE_INPUT, CLAUDE_OUTPUT = 3_000, 15_000

_RESULT = "import json\ndef result(told): print('RESULT ' + json.dumps(told))"
_HELPERS = f"""
import asyncio, json, threading, time
GPT, CLAUDE = {GPT!r}, {CLAUDE!r}
def said(**told):
    return [{{"role": "user", "content": "Please. script: " + json.dumps(told)}}]
def ask(client, **told):
    return client.chat.completions.create(model=GPT, messages=said(**told))
def tell(client, **told):
    return client.messages.create(model=CLAUDE, max_tokens=50, messages=said(**told))
"""
# A package is most of what a kernel costs, and a quarter of that would be to look for garbage where there is none.
CLIENTS = "import gc; gc.disable()\nimport openai, anthropic\ngc.enable()" + _HELPERS
OPENAI = "import gc; gc.disable()\nimport openai\ngc.enable()" + _HELPERS


@dataclass
class Output:
    """What a cell put out, up to its idle."""

    stdout: str = ""
    stderr: str = ""
    error: str = ""  # name and message of an exception
    shown: list[dict[str, Any]] = field(default_factory=list)  # display_data and execute_result, by MIME type
    comms: list[dict[str, Any]] = field(default_factory=list)  # comm messages: {"type", "id", "data", "target"}
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> Any:
        """What `result(…)` in the cell printed."""
        line = next(line for line in self.stdout.splitlines() if line.startswith("RESULT "))
        return json.loads(line.removeprefix("RESULT "))

    @property
    def line(self) -> str:
        """The line of costs in the plain output."""
        lines = [line for line in self.stdout.splitlines() if " call · " in line or " calls · " in line]
        assert len(lines) == 1, self.stdout + self.stderr
        return lines[0]


class Kernel:
    """A started kernel."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.late: list[dict[str, Any]] = []  # messages that belong to no cell that is being waited for
        self.began = datetime.now(UTC)  # rows from before are of another test
        self._comms: list[str] = []

    @property
    def id(self) -> str:
        return Path(self.manager.connection_file).stem.removeprefix("kernel-")

    def send(self, code: str, cell_id: str | None = None, *, silent: bool = False) -> str:
        """Ask for a cell without waiting for it; return the message's id."""
        content = {
            "code": code, "silent": silent, "store_history": not silent, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": False,
        }  # fmt: skip
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run(self, code: str, cell_id: str | None = None, *, silent: bool = False, seconds: float = SECONDS) -> Output:
        """Run a cell and return what it put out; fails when it raised and the test does not say so."""
        output = self.wait(self.send(code, cell_id, silent=silent), seconds=seconds)
        assert not output.error, output.error
        return output

    def fail(self, code: str, cell_id: str | None = None) -> Output:
        """Run a cell that must raise."""
        output = self.wait(self.send(code, cell_id))
        assert output.error
        return output

    def wait(self, message_id: str, *, seconds: float = SECONDS) -> Output:
        """Wait for a cell's idle and reply."""
        output, until, idle = Output(), time.monotonic() + seconds, False
        while not idle:
            message = self.client.get_iopub_msg(timeout=max(until - time.monotonic(), 0.01))
            if message["parent_header"].get("msg_id") != message_id:
                self.late.append(message)
                continue
            idle = _take(message, output)
        while True:
            reply = self.client.get_shell_msg(timeout=max(until - time.monotonic(), 0.01))
            if reply["parent_header"].get("msg_id") == message_id:
                output.reply = reply["content"]
                return output

    def drain(self, seconds: float, until: Callable[[Output], object] = lambda _: False) -> Output:
        """Return what comes without a cell to wait for: within so long, or until it is what is waited for."""
        output, end = Output(), time.monotonic() + seconds
        for message in self.late:
            _take(message, output)
        self.late.clear()
        while not until(output) and (left := end - time.monotonic()) > 0:
            with contextlib.suppress(Exception):
                _take(self.client.get_iopub_msg(timeout=left), output)
        return output

    def say(self, kind: str, comm_id: str, data: dict[str, Any], target: str = "") -> None:
        """Send a comm message as a front end does."""
        content: dict[str, Any] = {"comm_id": comm_id, "data": data}
        if target:
            content["target_name"] = target
        self.client.shell_channel.send(self.client.session.msg(kind, content))

    def hello(self, loaded: Output, path: str | None) -> str:
        """Answer the extension's comm as JupyterLab does; return its id."""
        (opened,) = [told for told in loaded.comms if told["type"] == "comm_open"]
        assert (opened["target"], opened["data"]) == ("ultimate_proxy", {"version": 1})
        told = {"event": "hello", "version": 1} | ({"path": path} if path is not None else {})
        self.say("comm_msg", opened["id"], told)
        return str(opened["id"])

    def open_comm(self, path: str) -> str:
        """Open a comm as JupyterLab does after a reload of its page; return its id."""
        comm_id = uuid.uuid4().hex
        self.say("comm_open", comm_id, {"version": 1, "path": path}, "ultimate_proxy")
        self._comms.append(comm_id)
        return comm_id

    def close_comms(self) -> None:
        """Close what was opened, as a page that goes does, and forget what it was told."""
        for comm_id in self._comms:
            self.say("comm_close", comm_id, {})
        self._comms.clear()
        self.run("None")
        self.late.clear()


def _take(message: dict[str, Any], output: Output) -> bool:
    """Add a message to the output; say whether the cell is done."""
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        setattr(output, content["name"], getattr(output, content["name"]) + content["text"])
    elif kind == "error":
        output.error = f"{content['ename']}: {content['evalue']}"
    elif kind in {"display_data", "execute_result"}:
        output.shown.append(content["data"])
    elif kind.startswith("comm_"):
        output.comms.append(
            {
                "type": kind, "id": content["comm_id"], "data": content["data"], "target": content.get("target_name"),
                "sent": message["header"]["date"],
            }
        )  # fmt: skip
    return kind == "status" and content["execution_state"] == "idle"


def events(name: str, *outputs: Output) -> list[dict[str, Any]]:
    """Return the messages to JupyterLab of one kind, as they were sent: late ones are read after what follows."""
    sent = sorted((told for one in outputs for told in one.comms), key=lambda told: told["sent"])
    return [told["data"] for told in sent if told["data"].get("event") == name]


def kernel_environment(folder: Path, proxy: Running | None, env: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which the proxy is found, and nobody's keys."""
    found = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key} if proxy is not None else {}
    jupyter = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return environment(folder, {**found, **jupyter, **quiet, **(env or {})})


@contextlib.contextmanager
def start_kernel(folder: Path, proxy: Running | None, env: dict[str, str] | None = None) -> Iterator[Kernel]:
    """Run a kernel for the time of a `with` block."""
    folder.mkdir(parents=True, exist_ok=True)
    runtime = folder / "runtime"
    runtime.mkdir(exist_ok=True)
    manager = KernelManager(kernel_name="python3", connection_file=str(runtime / f"kernel-{uuid.uuid4()}.json"))
    manager.start_kernel(env=kernel_environment(folder, proxy, env), cwd=str(folder))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        kernel = Kernel(manager, client)
        kernel.run(_RESULT)
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def load(kernel: Kernel) -> Kernel:
    """Load the extension and make clients."""
    output = kernel.run("%load_ext ultimate_lib", "load")
    assert output.stdout.startswith("Calls from this notebook go through "), output.stderr
    kernel.run(CLIENTS + "gpt = openai.OpenAI(max_retries=0)\nclaude = anthropic.Anthropic(max_retries=0)", "clients")
    return kernel


def rows_of(proxy: Running, kernel: Kernel, expected: int, **filters: str) -> list[dict[str, Any]]:
    """Return a kernel's calls as the proxy tells them, oldest first, once there are as many as expected."""
    query = "".join(f"&filter={name}:{value}" for name, value in filters.items())
    query += f"&start={kernel.began:%Y-%m-%dT%H:%M:%S.%fZ}"
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = proxy.get(f"/api/analytics/calls?limit=1000&filter=kernel:{kernel.id}{query}")["rows"]
        return len(found) >= expected

    wait_until(there, 15, proxy)
    assert len(found) == expected, [row["cell_id"] for row in found]
    return found[::-1]
