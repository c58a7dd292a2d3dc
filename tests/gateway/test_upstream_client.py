"""The client towards providers: proxies, certificates, large bodies, kept connections, memory of slow readers."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.scripted import Connection, Scripted, answer, chunk, head
from tests.gateway.gateways import ANTHROPIC, OPENAI, Gateway, Raw, ask, start_gateway
from tests.gateway.test_pass_through import scripted_answer
from tests.stopwatch import Stopwatch

ONE_PROVIDER = '[providers.openai]\nbase_url = "{url}/v1"\napi_key_env = "TEST_KEY"\n'
NO_PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "no_proxy"), "")


class Proxy:
    """An HTTP proxy that remembers what it was asked, and tunnels or forwards to one place."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.asked: list[bytes] = []
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        self.asked.append(data.split(b"\r\n")[0])
        with client, socket.create_connection(self._to) as onward:
            if data.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connection established\r\nx-proxy: yes\r\n\r\n")
            else:
                onward.sendall(data)
            back = threading.Thread(target=pump, args=(onward, client), daemon=True)
            back.start()
            pump(client, onward)
            back.join()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else the thread goes on accepting, at the next one's number
        self._listener.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def proxy(upstream: Scripted) -> Iterator[Proxy]:
    running = Proxy(("127.0.0.1", upstream.port))
    yield running
    running.close()


def test_https_proxy_and_no_proxy_are_honoured(tmp_path: Path, upstream: Scripted, proxy: Proxy) -> None:
    upstream.script = answer(scripted_answer("openai", streamed=False))
    config = ONE_PROVIDER.format(url="http://provider.example:1234")
    env = {**NO_PROXIES, "TEST_KEY": "sk-x", "http_proxy": proxy.url, "HTTPS_PROXY": proxy.url}
    (tmp_path / "a").mkdir()
    with start_gateway(tmp_path / "a", config, env) as gateway:
        assert gateway.post(OPENAI, ask("openai")).status == 200
    assert proxy.asked == [b"POST http://provider.example:1234/v1/chat/completions HTTP/1.1"]
    (tmp_path / "b").mkdir()
    config = ONE_PROVIDER.format(url="https://provider.example") + "[limits]\nconnect_s = 1\n"
    with start_gateway(tmp_path / "b", config, env) as gateway:
        assert gateway.post(OPENAI, ask("openai")).status == 504, "what is behind the tunnel speaks no TLS"
    assert proxy.asked[-1] == b"CONNECT provider.example:443 HTTP/1.1"
    (tmp_path / "c").mkdir()
    config = ONE_PROVIDER.format(url="http://provider.invalid:1234")
    with start_gateway(tmp_path / "c", config, {**env, "NO_PROXY": ".invalid", "no_proxy": ".invalid"}) as gateway:
        got = gateway.post(OPENAI, ask("openai"))
        assert (got.status, len(proxy.asked)) == (502, 2)
        assert "cannot be reached" in got.json["error"]["message"]


def test_an_address_of_this_machine_is_never_asked_of_a_proxy(
    tmp_path: Path, upstream: Scripted, proxy: Proxy
) -> None:
    upstream.script = answer(scripted_answer("openai", streamed=False))
    env = {
        **NO_PROXIES,
        "TEST_KEY": "sk-x",
        "http_proxy": proxy.url,
        "HTTPS_PROXY": proxy.url,
        "ALL_PROXY": proxy.url,
    }
    with start_gateway(tmp_path, ONE_PROVIDER.format(url=upstream.url), env) as gateway:
        assert gateway.post(OPENAI, ask("openai")).status == 200
    assert not proxy.asked


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("trusted", "name", "status"), [(True, "localhost", 200), (False, "localhost", 502), (True, "other.example", 502)]
)
def test_certificates_are_verified_against_the_given_file(
    tmp_path: Path, trusted: bool, name: str, status: int
) -> None:
    cert, key = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))
    body = scripted_answer("openai", streamed=False)

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
                with context.wrap_socket(sock, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    env = {**NO_PROXIES, "TEST_KEY": "sk-x", **({"SSL_CERT_FILE": str(cert)} if trusted else {})}
    config = ONE_PROVIDER.format(url=f"https://localhost:{listener.getsockname()[1]}")
    with start_gateway(tmp_path, config, env) as gateway:
        got = gateway.post(OPENAI, ask("openai"))
        assert got.status == status
        if status == 502:
            assert "cannot be reached" in got.json["error"]["message"]
            assert gateway.row(got.headers["x-ultimate-call-id"]).error_type == "connect"
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_large_body_arrives_whole_and_without_delay(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    sent = json.dumps(ask("anthropic", system="x" * 6_000_000)).encode()
    with Stopwatch() as took:
        assert gateway.post(ANTHROPIC, sent).status == 200
    assert upstream.requests[-1].body == sent
    assert upstream.requests[-1].header("expect") is None
    assert took.seconds < 5


def test_connections_to_a_provider_are_kept(gateway: Gateway, upstream: Scripted) -> None:
    seen: set[int] = set()

    def script(connection: Connection) -> None:
        seen.add(connection._socket.getpeername()[1])
        answer(scripted_answer("openai", streamed=False))(connection)

    upstream.script = script
    for _ in range(10):
        assert gateway.post(OPENAI, ask("openai")).status == 200
    assert len(seen) <= 2


@pytest.mark.parametrize("size", [100, 200_000], ids=["small", "large"])
def test_a_kept_connection_that_has_died_costs_no_call(gateway: Gateway, upstream: Scripted, size: int) -> None:
    told = scripted_answer("openai", streamed=False)

    def script(connection: Connection) -> None:
        answer(told)(connection)
        connection.close()

    for _ in range(5):
        upstream.script = script
        assert gateway.post(OPENAI, ask("openai", user="x" * size)).status == 200


def test_information_before_the_answer_is_passed_over(gateway: Gateway, upstream: Scripted) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        answer(scripted_answer("openai", streamed=False), 200, "x-real: yes")(connection)

    upstream.script = script
    got = gateway.post(OPENAI, ask("openai"))
    assert (got.status, got.headers.get("x-real"), "link" in got.headers) == (200, "yes", False)


def test_what_speaks_for_our_origin_is_not_passed_back(gateway: Gateway, upstream: Scripted) -> None:
    dropped = ["set-cookie: a=b", "strict-transport-security: max-age=1", "x-ultimate-cost-usd: 0", "via: 1.1 x"]
    upstream.script = answer(
        scripted_answer("openai", streamed=False), 200, *dropped, "x-ratelimit-remaining: 7", "request-id: req_1"
    )
    got = gateway.post(OPENAI, ask("openai"))
    assert (got.headers["x-ratelimit-remaining"], got.headers["request-id"]) == ("7", "req_1")
    assert not {"set-cookie", "strict-transport-security", "via"} & set(got.headers)
    assert float(got.headers["x-ultimate-cost-usd"]) > 0


def test_f14_slow_readers_cost_little_memory(gateway: Gateway, upstream: Scripted) -> None:
    """A sample of the full load: 40 clients that do not read, behind a provider that sends as fast as it can."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 4000 + b'"}}]}\n\n'
    stop = threading.Event()

    def script(connection: Connection) -> None:
        connection.send(head())
        connection._socket.settimeout(1)
        try:
            while not stop.is_set():
                connection.send(chunk(event))
        except OSError:
            pass
        connection.close()

    data = json.dumps(ask("openai", stream=True)).encode()
    request = (
        f"POST {OPENAI} HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.key}\r\ncontent-length: {len(data)}\r\n\r\n"
    ).encode() + data
    upstream.script = answer(scripted_answer("openai", streamed=False))
    assert gateway.post(OPENAI, ask("openai")).status == 200  # what a first call loads is not counted
    upstream.script = script
    before = rss_kib(gateway.pid)
    clients = [Raw(gateway.port, request, receive_bytes=4096) for _ in range(40)]
    time.sleep(3)
    grown = rss_kib(gateway.pid) - before
    stop.set()
    for client in clients:
        client.reset()
    assert grown < 40 * 256


@pytest.mark.parametrize("large", ["messages", "tools"])
def test_open_streams_do_not_keep_what_they_were_asked(gateway: Gateway, upstream: Scripted, large: str) -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    stop = threading.Event()

    def script(connection: Connection) -> None:
        connection.send(head())
        connection.send(chunk(event))
        stop.wait(60)
        connection.close()

    text = "x" * 8_000_000
    member: object = [{"role": "user", "content": text}]
    if large == "tools":
        member = [{"type": "function", "function": {"name": "look", "description": text}}]
    asked = ask("openai", stream=True, **{large: member})
    upstream.script = answer(scripted_answer("openai", streamed=True), kind="text/event-stream")
    assert gateway.post(OPENAI, asked).status == 200  # what a first call loads is not counted
    data = json.dumps(asked).encode()
    told = f"POST {OPENAI} HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.key}\r\ncontent-length: {len(data)}\r\n\r\n"
    upstream.script = script
    before = rss_kib(gateway.pid)
    clients = []
    for _ in range(10):
        clients.append(Raw(gateway.port, told.encode() + data))
        clients[-1].until(b"delta")
    grown = rss_kib(gateway.pid) - before
    stop.set()
    for client in clients:
        client.reset()
    assert grown < 10 * len(data) / 1024 / 3


def rss_kib(pid: int) -> int:
    import psutil

    return int(psutil.Process(pid).memory_info().rss) // 1024


@pytest.mark.parametrize("status", [200, 413])
def test_a_provider_may_answer_before_it_has_read_a_large_body(tmp_path: Path, status: int) -> None:
    told = scripted_answer("openai", streamed=False)
    size: list[int] = []
    answered = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            data = b""
            while b"\r\n\r\n" not in data:
                data += sock.recv(4096)
            start, _, body = data.partition(b"\r\n\r\n")
            (length,) = (
                int(line[15:]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            sock.sendall(head(status, "application/json"))
            time.sleep(0.2)
            have = len(body)
            sock.settimeout(5)
            while have < length and status < 400 and (piece := sock.recv(1 << 20)):
                have += len(piece)
            size.append(have)
            sock.sendall(chunk(told) + b"0\r\n\r\n")
            answered.wait(20)  # what it has not read would take its answer away with it

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        config = ONE_PROVIDER.format(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        with start_gateway(tmp_path, config, {**NO_PROXIES, "TEST_KEY": "sk-x"}) as gateway:
            sent = json.dumps(ask("openai", messages=[{"role": "user", "content": "x" * 20_000_000}])).encode()
            got = gateway.post(OPENAI, sent)
            answered.set()
            assert (got.status, got.body) == (status, told)
            assert status != 200 or size == [len(sent)]
