"""Whether calls can ever reach what `[tiers]` names. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ultimate_lib import protocols
from ultimate_lib.errors import Invalid
from ultimate_lib.providers.configured import configured, offered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.providers.configured import Provider, Stored
    from ultimate_lib.settings import Settings


def check_tiers(settings: Settings, book: PriceBook, *, demo_url: str = "", stored: Stored | None = None) -> None:
    """Refuse a tier's model that is no alias, and that no provider serves or would serve once it has a key.

    Any name may be right where no provider is configured yet, and where a protocol has a single one, for that is sent
    every name. Keys that people enter (`stored`) may make a provider that single one, but never have a name refused
    that is taken without them. Raises `Invalid` with the place.
    """
    tiers = {tier: str(getattr(settings.tiers, tier)) for tier in settings.tiers.__struct_fields__}
    named = {tier: model for tier, model in tiers.items() if model and model not in settings.models}
    if not named or any(_takes_any(settings, demo_url, keys) for keys in (None, stored)):
        return
    known = offered(settings, demo_url=demo_url)
    sold = {one.price_id for one in known.values()}
    for tier, model in named.items():
        prefix, slash, rest = model.partition("/")
        if (slash and prefix in known) or any(book.knows(price_id, model) for price_id in sold):
            continue
        spelled = [*settings.models, *(f"{name}/{rest}" for name in known if slash), *book.models(sold)]
        close = difflib.get_close_matches(model, spelled, n=1)
        place = settings.origin(f"tiers.{tier}")
        raise Invalid(
            f"{place}: tiers.{tier} = '{model}': no provider serves it, and it is no alias.",
            hint=(f"Did you mean '{close[0]}'? " if close else "")
            + f"Write provider/model, with one of these providers: {', '.join(known)}.",
            code="tier_unserved",
        )


def _takes_any(settings: Settings, demo_url: str, stored: Stored | None) -> bool:
    found = configured(settings, demo_url=demo_url, stored=stored).values()
    inforce = [one for one in found if one.name != "demo"]
    return not inforce or any(_is_single(inforce, protocol) for protocol in protocols.names())


def _is_single(inforce: Iterable[Provider], protocol: str) -> bool:
    """Say whether calls of a protocol have one provider to go to; one that lacks its key counts as in `Routes`."""
    speaking = [one for one in inforce if one.protocol == protocol]
    return len([one for one in speaking if not one.lacks_key] or speaking) == 1
