"""Which providers are in force, and which addresses and keys are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultimate_lib.errors import Invalid
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.providers import Routes, configured
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


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    config = '[providers.openai]\nbase_url = "https://ada:secret@example.com/v1"\nauth = "none"\n'
    with pytest.raises(Invalid, match=r"providers\.openai\.base_url") as told:
        configured(load(None, {}, text=config))
    assert "secret" not in str(told.value)
    config = '[providers.openai]\nbase_url = "https://example.com/@team/v1"\nauth = "none"\n'
    assert configured(load(None, {}, text=config))["openai"].base_url == "https://example.com/@team/v1"
