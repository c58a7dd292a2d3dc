"""Prices of worst cases: of which models others may be priced as, and that each instant has its own."""

from __future__ import annotations

import pytest

from ultimate_lib.errors import Invalid
from ultimate_lib.limits.worst import check_price_as
from ultimate_lib.pricing import PriceBook
from ultimate_lib.pricing.ceiling import Ceiling
from ultimate_lib.pricing.table import Dated, Model, PriceTable, Provider, Rate
from ultimate_lib.protocols.bounds import Bounds

PRICES = (Dated({"input_mtok": Rate(1), "output_mtok": Rate(2)}),)


def sold(name: str, *, priced: bool = True) -> Model:
    return Model(name, ["equals", name], PRICES if priced else (Dated({}),))


def test_a_model_that_one_seller_has_a_price_of_is_taken() -> None:
    listed = {
        "maker": Provider((sold("free"), sold("open", priced=False), sold("bare", priced=False))),
        "reseller": Provider((sold("maker/open"), sold("bare"))),
    }
    book = PriceBook(PriceTable("1", listed))
    for rule in ("free", "maker/free", "reseller/maker/open", "maker/open", "bare"):
        check_price_as(book, f"price_as:{rule}", 0)
    for rule in ("open", "reseller/free", "maker/bare"):
        with pytest.raises(Invalid):
            check_price_as(book, f"price_as:{rule}", 0)


def test_what_was_found_a_moment_ago_is_not_the_price_of_another_minute_or_of_a_larger_call() -> None:
    day_us = 86_400_000_000
    dated = tuple(
        Dated({"input_mtok": Rate(base, ((100, 10 * base),)), "output_mtok": Rate(each)}, since_us)
        for base, each, since_us in ((1_000_001, 2, None), (3_000_000, 4, day_us))
    )
    book = PriceBook(PriceTable("1", {"maker": Provider((Model("m", ["equals", "m"], dated),))}))

    def most(at_us: int, tokens: int) -> Ceiling | None:
        return book.ceiling("maker", "m", at_us, tokens, Bounds(tokens))

    for _ in range(2):  # also when each has been asked before
        for at_us, base, each in ((day_us - 1, 1_000_001, 2), (day_us, 3_000_000, 4), (0, 1_000_001, 2)):
            for tokens, times in ((100, 1), (101, 10), (10, 1)):
                assert most(at_us, tokens) == Ceiling(-(-tokens * base * times // 1_000_000) + 5, each)
