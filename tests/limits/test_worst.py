"""Which models others may be priced as: those whose price a gateway finds."""

from __future__ import annotations

import pytest

from ultimate_lib.errors import Invalid
from ultimate_lib.limits.worst import check_price_as
from ultimate_lib.pricing import PriceBook
from ultimate_lib.pricing.table import Dated, Model, PriceTable, Provider, Rate

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
