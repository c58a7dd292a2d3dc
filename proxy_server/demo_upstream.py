"""The scripted provider on a port: Anthropic Messages and OpenAI Chat Completions, streaming and not.

    python -m proxy_server.demo_upstream --port 9100 --truth told.jsonl

`--truth` writes one JSON line a call, what was told to the client and how the call ended, so that tests can hold a
lake against it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import tornado.httpserver
import tornado.iostream
import tornado.web

from ultimate_lib import demo
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from proxy_server.process import Child

PATHS = r"(/v1/messages|/v1/messages/count_tokens|/v1/chat/completions)"


class Calls(tornado.web.RequestHandler):
    """Answers as scripted."""

    def initialize(self, truth: TextIO | None) -> None:
        """Take the file that learns what was told."""
        self._truth = truth
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        """Wake a waiting answer: its reader has left."""
        self._gone.set()

    async def post(self, path: str) -> None:
        """Answer one call."""
        answer_id = ("msg_" if path.startswith("/v1/messages") else "chatcmpl-") + secrets.token_hex(12)
        try:
            answer = demo.answer(path, self.request.body, answer_id)
        except Invalid as error:
            self.set_status(400)
            self.finish({"error": {"type": "invalid_request_error", "message": error.message}})
            return
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        ended = await self._send(answer)
        if self._truth is not None:
            line = {
                "id": answer.answer_id,
                "status": answer.status,
                "input_tokens": answer.input_tokens,
                "output_tokens": answer.output_tokens,
                "ended": ended,
            }
            self._truth.write(json.dumps(line) + "\n")
            self._truth.flush()

    async def _send(self, answer: demo.Answer) -> str:
        try:
            for pause, data in answer.pieces:
                if pause and await self._left_within(pause):
                    return "cut"
                self.write(data)
                if len(answer.pieces) > 1 or answer.ending != "end":
                    await self.flush()
            if answer.ending == "drop":
                self.detach().close()
                return "drop"
            if answer.ending == "stall":
                await self._gone.wait()
                return "cut"
            await self.finish()
        except tornado.iostream.StreamClosedError:
            return "cut"
        return "ok"

    async def _left_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def get(self, path: str) -> None:
        """Answer the curious."""
        self.set_status(405)
        self.finish({"error": {"type": "invalid_request_error", "message": f"POST to {path}."}})


def application(truth: TextIO | None = None) -> tornado.web.Application:
    """Return the provider as a Tornado application."""
    return tornado.web.Application([(PATHS, Calls, {"truth": truth})], log_function=lambda _: None)


def serve(listener: socket.socket, truth: TextIO | None = None) -> tornado.httpserver.HTTPServer:
    """Serve on a listening socket within the running loop."""
    server = tornado.httpserver.HTTPServer(application(truth))
    listener.setblocking(False)
    server.add_socket(listener)
    return server


async def run(child: Child) -> None:
    """Be the demo child of a supervisor."""
    assert child.listener is not None  # noqa: S101 - the supervisor always hands one over
    server = serve(child.listener)
    child.ready()
    if child.settings.data.demo and child.settings.data.demo_traffic:
        from proxy_server import demo_traffic  # noqa: PLC0415 - few need a client

        await demo_traffic.make(child.settings, child.drain)
    await child.drain.wait()
    server.stop()
    await server.close_all_connections()


async def _main(port: int, truth: TextIO | None) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    serve(listener, truth)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - whoever started us reads the port
    await asyncio.Event().wait()


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(description="The scripted provider.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one and prints it")
    parser.add_argument("--truth", type=Path, help="file that learns what was told, one JSON line a call")
    arguments = parser.parse_args()
    try:
        with contextlib.ExitStack() as stack:
            truth = stack.enter_context(arguments.truth.open("a", encoding="utf-8")) if arguments.truth else None
            asyncio.run(_main(arguments.port, truth))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
