from __future__ import annotations

from ultimate_lib.kernel.environment import Environment

URL, KEY = "http://127.0.0.1:8082", "cp_key"


def test_variables_are_set_and_put_back() -> None:
    environ = {"OPENAI_API_KEY": "sk", "ANTHROPIC_AUTH_TOKEN": "token", "PATH": "/bin"}
    before = dict(environ)
    environment = Environment(environ)
    environment.point(URL, KEY)
    assert environ == {
        "OPENAI_BASE_URL": f"{URL}/v1", "OPENAI_API_BASE": f"{URL}/v1", "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": KEY, "PATH": "/bin",
    }  # fmt: skip
    assert environment.before["OPENAI_API_KEY"] == "sk"
    environment.restore()
    assert environ == before


def test_what_the_user_changed_meanwhile_stays() -> None:
    environ = {"OPENAI_API_KEY": "sk"}
    environment = Environment(environ)
    environment.point(URL, KEY)
    environ["OPENAI_API_KEY"] = "sk-new"
    del environ["ANTHROPIC_BASE_URL"]
    environ["ANTHROPIC_AUTH_TOKEN"] = "token-new"
    environment.restore()
    assert environ == {"OPENAI_API_KEY": "sk-new", "ANTHROPIC_AUTH_TOKEN": "token-new"}


def test_another_gateway_is_left_and_the_other_family_is_not() -> None:
    environ = {"OPENAI_API_BASE": "http://localhost:11434/v1", "OPENAI_API_KEY": "ollama"}
    environment = Environment(environ)
    environment.point(URL, KEY)
    assert environment.left == {"OPENAI_API_BASE": "http://localhost:11434/v1"}
    assert environ["OPENAI_API_KEY"] == "ollama"
    assert "OPENAI_BASE_URL" not in environ
    assert environ["ANTHROPIC_BASE_URL"] == URL


def test_a_proxy_on_this_computer_is_reached_without_the_companys_http_proxy() -> None:
    environ = {"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "intranet.test"}
    environment = Environment(environ)
    environment.point(URL, KEY)
    assert (environ["NO_PROXY"], environ["no_proxy"]) == ("intranet.test,127.0.0.1", "127.0.0.1")
    environment.restore()
    assert environ == {"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "intranet.test"}
    environment.point("https://llm.company.test", KEY)
    assert environ["NO_PROXY"] == "intranet.test"
