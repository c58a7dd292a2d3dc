"""What a call costs: usage + model + date → nano-dollars, from a dated offline price list. Pure.

book = PriceBook(pricelist.load())
book.cost("anthropic", "claude-sonnet-4-5", Usage(input_tokens=1000, output_tokens=50), at_us=…).total
"""

from __future__ import annotations

from ultimate_lib.pricing.book import Cost, PriceBook
from ultimate_lib.pricing.table import PriceTable, decode, encode

__all__ = ["Cost", "PriceBook", "PriceTable", "decode", "encode"]
