"""The load client's HTTP against a server that answers byte by byte as told: what it knows of how an answer ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from proxy_server.replay.shapes import SHAPES, Told, refusal, told
from proxy_server.replay.wire import Connection, Origin, Reply
from ultimate_lib.errors import Invalid

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Ultimate-Call-Id: c-1\r\n\r\n"
PLAIN = b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nno no"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def talk(*answers: Sequence[bytes], timeout_s: float = 5.0, keep: bool = False) -> list[tuple[Reply, bool]]:
    """Give a connection one answer a request, its pieces one by one; return each reply and if another call may go."""

    async def both() -> list[tuple[Reply, bool]]:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for pieces in answers:
                await reader.readuntil(b"\r\n\r\n")
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.002)
            if keep:
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                await writer.wait_closed()
            served.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = await Connection.connect(Origin("127.0.0.1", port, None, ""))
        found = []
        for _ in answers:
            reply = await connection.call(REQUEST, timeout_s)
            found.append((reply, connection.usable))
        connection.close()
        await served.wait()
        server.close()
        await server.wait_closed()
        return found

    return asyncio.run(both())


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_a_chunked_answer_is_read_however_it_is_cut() -> None:
    whole = CHUNKED + b"5;x=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    expected = Reply(200, b"hello world", "c-1", whole=True)
    for pieces in ([whole], bytewise(whole), [whole[:90], whole[90:]]):
        assert talk(pieces, pieces, keep=True) == [(expected, True)] * 2


def test_a_plain_answer_and_one_that_lasts_to_the_end_of_the_connection() -> None:
    assert talk([PLAIN], [PLAIN], keep=True) == [(Reply(404, b"no no", "", whole=True), True)] * 2
    [(reply, usable)] = talk([b"HTTP/1.1 200 OK\r\n\r\nto the", b" end"])
    assert (reply, usable) == (Reply(200, b"to the end", "", whole=True), False)
    [(reply, _)] = talk([b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN], keep=True)
    assert reply.status == 404


def test_a_connection_that_says_close_takes_no_further_call() -> None:
    [(reply, usable)] = talk([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"], keep=True)
    assert (reply.body, reply.whole, usable) == (b"ok", True, False)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"", Reply(0, b"", "", whole=False)),
        (b"HTTP/1.1 200 O", Reply(0, b"", "", whole=False)),
        (CHUNKED + b"5\r\nhel", Reply(200, b"", "c-1", whole=False)),
        (CHUNKED + b"5\r\nhello\r\n", Reply(200, b"hello", "c-1", whole=False)),
        (CHUNKED + b"nonsense\r\nhello\r\n", Reply(200, b"", "c-1", whole=False)),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Reply(0, b"", "", whole=False)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort", Reply(200, b"short", "", whole=False)),
    ],
)
def test_what_breaks_off_is_never_whole(answer: bytes, reply: Reply) -> None:
    assert talk([answer]) == [(reply, False)]


def test_silence_ends_after_the_time_out() -> None:
    [(reply, usable)] = talk([CHUNKED], timeout_s=0.2, keep=True)
    assert (reply.status, reply.whole, usable) == (200, False, False)


def test_addresses() -> None:
    assert Origin.parse("http://127.0.0.1:8082/v1/") == Origin("127.0.0.1", 8082, None, "")
    assert Origin.parse("http://host/base")[1::2] == (80, "/base")
    assert Origin.parse("https://[::1]:9").authority == "[::1]:9"
    for wrong in ("127.0.0.1:8082", "ftp://x", "http://", "http://x:port"):
        with pytest.raises(Invalid, match=r"http://127\.0\.0\.1:8082"):
            Origin.parse(wrong)


# -- what an answer says ----------------------------------------------------------------------------------------

CHAT, MESSAGES = SHAPES["openai-chat"], SHAPES["anthropic-messages"]
CHAT_STREAM = (
    b'data: {"choices":[{"delta":{"content":"the \\"usage\\" of data: [DONE]"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)
MESSAGES_STREAM = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":11,"output_tokens":1}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@pytest.mark.parametrize(("shape", "stream"), [(CHAT, CHAT_STREAM), (MESSAGES, MESSAGES_STREAM)])
def test_an_answer_is_acknowledged_by_its_complete_terminal_event_alone(shape: object, stream: bytes) -> None:
    assert told(shape, stream) == Told(True, "", 11, 5)  # type: ignore[arg-type]
    crlf = stream.replace(b"\n", b"\r\n")
    assert told(shape, crlf) == Told(True, "", 11, 5)  # type: ignore[arg-type]
    assert not any(told(shape, stream[:end]).terminal for end in range(len(stream)))  # type: ignore[arg-type]


def test_an_error_in_the_middle_is_no_acknowledgement() -> None:
    failed = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Later."}}\n\n'
    assert told(MESSAGES, MESSAGES_STREAM[:100] + b"\n\n" + failed).error == "Later."
    assert told(CHAT, b'data: {"error":{"message":"Broken."}}\n\n' + CHAT_STREAM) == Told(False, "Broken.", 11, 5)


def test_a_refusal_is_quoted_in_either_envelope_or_none() -> None:
    assert refusal(b'{"type":"error","error":{"type":"x","message":"No key."}}') == "No key."
    assert refusal(b'{"error":{"type":"x","message":"No model."}}') == "No model."
    assert refusal(b"<html>Bad gateway</html>") == "<html>Bad gateway</html>"
