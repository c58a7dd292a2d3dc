"""What the network and a proxy in trouble do to a client: tries, time-outs, errors in words, and where a key goes."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from claude_proxy import BadRequest, ClaudeProxyClient, NotAllowed, NotFound, ProxyError, Unreachable
from tests.client.conftest import KEY
from tests.client.fake import Fake, dropped, refusal, told
from tests.fakes.scripted import Connection, answer
from tests.stopwatch import Stopwatch

ROLES = {"viewer": ["reports:view"]}


def test_a_get_is_tried_again_when_the_proxy_is_away_for_a_moment(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", refusal(503, code="busy"), dropped, told(ROLES))
    assert client.list_roles() == ROLES
    assert len(fake.asked_for("GET /api/roles")) == 3


def test_a_get_is_tried_three_times_and_then_says_what_the_proxy_said(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", refusal(503, "Too many questions.", code="busy", hint="Wait."))
    with pytest.raises(ProxyError) as caught:
        client.list_roles()
    error = caught.value
    assert (error.message, error.hint, error.code, error.status, error.request_id) == (
        "Too many questions.", "Wait.", "busy", 503, "r123",
    )  # fmt: skip
    assert len(fake.asked_for("GET /api/roles")) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422, 500])
def test_what_another_try_does_not_mend_is_asked_once(fake: Fake, client: ClaudeProxyClient, status: int) -> None:
    fake.on("GET /api/roles", refusal(status))
    kinds = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 500: ProxyError}
    with pytest.raises(ProxyError) as caught:
        client.list_roles()
    assert type(caught.value) is kinds.get(status, BadRequest)
    assert caught.value.status == status
    assert len(fake.asked_for("GET /api/roles")) == 1


@pytest.mark.parametrize("script", [refusal(503), dropped])
def test_what_changes_something_is_sent_once(fake: Fake, client: ClaudeProxyClient, script: object) -> None:
    for route in ("POST /api/auth/logout", "PUT /api/providers/x/key", "DELETE /api/keys/k1"):
        fake.on(route, script)  # type: ignore[arg-type] # both are scripts
    for change in (
        client.logout,
        lambda: client.set_provider_key("x", "sk-1"),
        lambda: client.revoke_api_key("k1"),
    ):
        with pytest.raises(ProxyError):
            change()
    assert len(fake.asked) == 4, "the version once, and each change once"


def test_what_makes_something_is_tried_again_as_the_same_request(fake: Fake, client: ClaudeProxyClient) -> None:
    busy = refusal(409, "Under way.", "retry-after: 0", code="idempotency_busy")
    fake.on("POST /api/keys", dropped, busy, told({"key": "cp_x"}, 201))
    assert client.create_api_key("a").key == "cp_x"
    tries = fake.asked_for("POST /api/keys")
    names = {one.header("idempotency-key") for one in tries}
    assert len(tries) == 3
    assert len(names) == 1
    assert len(names.pop() or "") == 36
    fake.on("POST /api/keys", told({"key": "cp_y"}, 201))
    client.create_api_key("a")
    assert len({one.header("idempotency-key") for one in fake.asked_for("POST /api/keys")}) == 2
    fake.on("POST /api/keys", refusal(409, code="name_taken"))
    with pytest.raises(BadRequest):
        client.create_api_key("a")
    assert len(fake.asked_for("POST /api/keys")) == 5, "a conflict that does not ask to wait is an answer"


def test_a_wait_that_is_asked_for_is_kept(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", refusal(429, "Slowly.", "retry-after: 1"), told(ROLES))
    began = time.monotonic()
    assert client.list_roles() == ROLES
    assert time.monotonic() - began >= 1.0


def test_a_wait_that_is_too_long_is_told_instead(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", refusal(429, "Slowly.", "retry-after: 600"), told(ROLES))
    with pytest.raises(ProxyError, match="Try again in 600 s"):
        client.list_roles()


def test_a_silent_proxy_is_given_up_in_time_and_not_asked_again(fake: Fake) -> None:
    def silent(connection: Connection) -> None:
        connection.left_within(5.0)

    fake.on("GET /api/roles", silent)
    with (
        ClaudeProxyClient(fake.url, KEY, timeout=0.3) as client,
        Stopwatch() as took,
        pytest.raises(Unreachable, match=r"did not answer within 0\.3 s") as caught,
    ):
        client.list_roles()
    assert took.seconds < 2.0
    assert caught.value.code == "timeout"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_no_proxy_says_which_address_where_it_is_from_and_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("CLAUDE_PROXY_URL", url)
    with pytest.raises(Unreachable) as caught:
        ClaudeProxyClient().list_roles()
    assert url in str(caught.value)
    assert "CLAUDE_PROXY_URL" in str(caught.value)
    assert "`ultimate-proxy up`" in str(caught.value)


@pytest.mark.parametrize(("spoken", "words"), [(2, "pip install -U claude-proxy-sdk"), (0, "Update the proxy")])
def test_a_proxy_of_another_interface_is_told_in_a_sentence(
    fake: Fake, client: ClaudeProxyClient, spoken: int, words: str
) -> None:
    fake.on("GET /api/version", told({"version": "9.9", "api": spoken, "demo": False}))
    fake.on("GET /api/roles", told(ROLES))
    with pytest.raises(ProxyError, match=f"speaks interface {spoken}") as caught:
        client.list_roles()
    assert words in str(caught.value)
    assert not fake.asked_for("GET /api/roles")
    assert client.version()["api"] == spoken, "the version itself can be asked of any proxy"


def test_the_interface_is_asked_for_once(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", told(ROLES))
    for _ in range(3):
        client.list_roles()
    assert client.demo is False
    assert len(fake.asked_for("GET /api/version")) == 1


def test_a_proxy_that_does_not_tell_its_interface_is_taken_as_it_is(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/version", refusal(404))
    fake.on("GET /api/roles", told(ROLES))
    assert client.list_roles() == ROLES


def test_another_server_at_the_address_is_named_as_such(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", answer(b"<h1>It works!</h1>", kind="text/html"))
    with pytest.raises(ProxyError, match="not as an Ultimate Proxy does"):
        client.list_roles()
    fake.on("GET /api/roles", answer(b"<h1>Not found</h1>", 404, kind="text/html"))
    with pytest.raises(NotFound, match="not as an Ultimate Proxy does"):
        client.list_roles()


def test_a_key_follows_no_one_to_another_address(fake: Fake, client: ClaudeProxyClient) -> None:
    elsewhere = Fake()
    fake.on("GET /api/roles", answer(b"", 302, f"location: {elsewhere.url}/api/roles"))
    with pytest.raises(ProxyError, match="leads on to"):
        client.list_roles()
    assert elsewhere.asked == []
    elsewhere.close()


def test_a_loopback_proxy_is_not_asked_for_through_a_proxy_elsewhere_and_netrc_says_nothing(
    fake: Fake, client: ClaudeProxyClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    between = Fake()
    monkeypatch.setenv("HTTP_PROXY", between.url)
    monkeypatch.setenv("http_proxy", between.url)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    fake.on("GET /api/roles", told(ROLES))
    client.list_roles()
    assert between.asked == []
    assert {one.header("authorization") for one in fake.asked} == {f"Bearer {KEY}"}
    between.close()


def test_no_cookie_is_kept(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/roles", told(ROLES, 200, "set-cookie: session=1; Path=/"))
    client.list_roles()
    client.list_roles()
    assert fake.asked[-1].header("cookie") is None


def test_a_key_is_shown_nowhere(fake: Fake, client: ClaudeProxyClient) -> None:
    made = {"key": "cp_" + "s" * 43, "about": {"id": "k1", "name": "n", "scopes": []}}
    fake.on("POST /api/keys", told(made, 201))
    fake.on("GET /api/roles", refusal(403, f"The key {KEY} may not."))
    answered = client.create_api_key("n")
    assert answered["key"] == made["key"]
    assert made["key"] not in repr(answered)
    assert KEY not in repr(client)
    with pytest.raises(NotAllowed) as caught:
        client.list_roles()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["cp_a\nb", "cp_ä", "cp_a b"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_told(fake: Fake, key: str) -> None:
    with pytest.raises(ProxyError) as caught:
        ClaudeProxyClient(fake.url, key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://me:secret@x", "http://x/?a=1", "http://x:99999", "x"])
def test_what_is_no_address_of_a_proxy_is_refused(url: str) -> None:
    with pytest.raises(ProxyError) as caught:
        ClaudeProxyClient(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("call_id", ["", ".", ".."])
def test_an_id_is_one_segment_of_a_path(client: ClaudeProxyClient, fake: Fake, call_id: str) -> None:
    with pytest.raises(BadRequest):
        client.call(call_id)
    with pytest.raises(NotFound):
        client.call("a/../b?c=d#e")
    assert fake.asked[-1].path == "/api/calls/a%2F..%2Fb%3Fc%3Dd%23e"


def test_lists_and_mappings_become_what_the_proxy_reads(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/analytics/aggregate", told({"rows": [], "units": {}}))
    client.get_analytics(
        "2026-01-01", by=["model", "team"], metrics="requests", filter={"project": ["a", "b&c"], "app": None}
    )
    assert fake.asked[-1].path.partition("?")[2] == (
        "start=2026-01-01&metrics=requests&by=model%2Cteam&filter=project%3Aa&filter=project%3Ab%26c&filter=app%3A"
    )


def test_bodies_are_json_and_leave_out_what_is_not_said(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("POST /api/keys", told({"key": "cp_x", "about": {}}, 201))
    client.create_api_key("n", ["proxy:call"], expires_in_days=3)
    assert fake.asked[-1].header("content-type") == "application/json"
    assert json.loads(fake.asked[-1].body) == {"name": "n", "scopes": ["proxy:call"], "expires_in_days": 3}


def test_not_ready_is_an_answer_and_a_proxy_in_trouble_is_an_error(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /readyz", told({"ready": False, "reasons": ["The worker is away."]}, 503))
    assert client.ready().reasons == ["The worker is away."]
    fake.on("GET /readyz", refusal(503, "Control is not there."))
    with pytest.raises(ProxyError, match="Control is not there"):
        client.ready()
