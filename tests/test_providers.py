"""Which providers are in force, and which addresses and keys are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultimate_lib.errors import Invalid
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.providers import Routes, check_tiers, configured
from ultimate_lib.settings import load


@pytest.mark.parametrize(
    "key", ["", "  \n", "cp_ours", "sk-one\nsk-two", "sk-one\r\nx-evil: 1", "sk-größe", "OPENAI_API_KEY = sk-one"]
)
def test_a_file_that_holds_no_key_is_refused_without_showing_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(key.encode())
    with pytest.raises(Invalid, match="key") as told:
        configured(load(None, {}, text=f'[providers.openai]\napi_key_file = "{path}"\n'))
    assert "sk-" not in str(told.value)
    assert str(path) in str(told.value)


def test_the_line_end_of_a_key_file_is_no_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-one\n", encoding="utf-8")
    found = configured(load(None, {}, text=f'[providers.openai]\napi_key_file = "{path}"\n'))
    assert found["openai"].api_key == "sk-one"


def test_a_tier_may_name_an_alias() -> None:
    text = '[models.fast]\ndeployments = [{ provider = "demo", model = "m" }]\n[tiers]\nbig = "fast"\n'
    settings = load(None, environ={}, text=text)
    routes = Routes(settings, configured(settings, demo_url="http://127.0.0.1"), PriceBook(pricelist.load()))
    route = routes.find("anthropic-messages", "claude-opus-4-1")
    assert (route.provider.name, route.model, route.deployment) == ("demo", "m", "demo/m")


TWO = "[providers.vllm]\n[providers.ollama]\n"  # of one protocol, neither with a price list
ALIAS = '[models.fast]\ndeployments = [{ provider = "vllm", model = "m" }]\n'
GROQ, OPENAI = {"GROQ_API_KEY": "sk-one"}, {"OPENAI_API_KEY": "sk-two"}


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook(pricelist.load())


@pytest.mark.parametrize(
    ("text", "environ", "named", "remedy"),
    [
        (TWO, {}, "nope-model", "vllm"),
        (TWO, {}, "opnai/gpt-4o", "Did you mean 'openai/gpt-4o'?"),
        (TWO, {}, "claude-sonet-4-5", "Did you mean 'claude-sonnet-4-5'?"),
        (TWO + ALIAS, {}, "fats", "Did you mean 'fast'?"),
        ("", GROQ | OPENAI, "azure-openai/gpt-4o", "groq"),
    ],
)
def test_a_tier_that_nobody_can_serve_is_refused(
    book: PriceBook, text: str, environ: dict[str, str], named: str, remedy: str
) -> None:
    with pytest.raises(Invalid, match=f"^BIG_MODEL: tiers.big = '{named}'") as told:
        check_tiers(load(None, {**environ, "BIG_MODEL": named}, text=text), book)
    assert remedy in str(told.value)


@pytest.mark.parametrize(
    ("text", "environ", "named"),
    [
        ("", {}, "nope-model"),  # every key may still be entered
        ("", OPENAI, "nope-model"),  # the only one of its protocol is sent any name
        ("[providers.groq]\n", OPENAI, "nope-model"),  # also beside those that have no key yet
        (TWO, {}, "vllm/nope-model"),
        (TWO, {}, "groq/nope-model"),  # its key may be entered
        (TWO, {}, "claude-sonnet-4-5"),
        (TWO + ALIAS, {}, "fast"),
        (TWO, {}, ""),
    ],
)
def test_a_tier_that_may_be_served_is_taken(book: PriceBook, text: str, environ: dict[str, str], named: str) -> None:
    check_tiers(load(None, {**environ, "BIG_MODEL": named}, text=text), book)


@pytest.mark.parametrize(
    ("text", "environ", "entered"),
    [
        (TWO, {}, "anthropic"),
        ("", GROQ | OPENAI, "anthropic"),
        ("[providers.groq]\n[providers.mistral]\n", {}, "mistral"),
    ],
)
def test_a_tier_may_name_what_the_only_one_that_has_a_key_is_sent(
    book: PriceBook, text: str, environ: dict[str, str], entered: str
) -> None:
    read = load(None, {**environ, "BIG_MODEL": "newer-than-the-price-list"}, text=text)

    def stored(name: str, _address: str) -> str:
        return "sk-entered" if name == entered else ""

    protocol = "anthropic-messages" if entered == "anthropic" else "openai-chat"
    assert (
        Routes(read, configured(read, stored=stored), book).find(protocol, "claude-opus-4-5").provider.name == entered
    )
    check_tiers(read, book, stored=stored)
    with pytest.raises(Invalid):
        check_tiers(read, book)


def test_an_entered_key_has_no_tier_refused(book: PriceBook) -> None:
    read = load(None, {**OPENAI, "BIG_MODEL": "nope-model"}, text="")
    check_tiers(read, book, stored=lambda name, _: "sk-entered" if name == "groq" else "")


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    config = '[providers.openai]\nbase_url = "https://ada:secret@example.com/v1"\nauth = "none"\n'
    with pytest.raises(Invalid, match=r"providers\.openai\.base_url") as told:
        configured(load(None, {}, text=config))
    assert "secret" not in str(told.value)
    config = '[providers.openai]\nbase_url = "https://example.com/@team/v1"\nauth = "none"\n'
    assert configured(load(None, {}, text=config))["openai"].base_url == "https://example.com/@team/v1"
