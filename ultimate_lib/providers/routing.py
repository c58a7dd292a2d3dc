"""From the model a client names to the provider that serves it and the name it has there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.errors import Invalid, NotFound
from ultimate_lib.providers.configured import Provider, masked

if TYPE_CHECKING:
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.settings import Settings

_TIERS = (("opus", "big"), ("sonnet", "middle"), ("haiku", "small"))
_MOST_KEPT = 10_000
_NO_ROUTES = (
    "none: enter a provider's key on the first page, set ANTHROPIC_API_KEY or OPENAI_API_KEY, or write [providers.*]"
)


class Route(msgspec.Struct, frozen=True):
    """Where a call goes: the provider, the model's name there, and the deployment's name in the record."""

    provider: Provider
    model: str
    deployment: str


class Routes:
    """Finds routes: by alias, tier, `provider/` prefix, price list, or the only provider of the protocol, in turn."""

    def __init__(self, settings: Settings, providers: dict[str, Provider], book: PriceBook) -> None:
        self._settings = settings
        self._providers = providers
        self._book = book
        self._kept: dict[tuple[str, str], Route] = {}
        for alias, entry in settings.models.items():
            for deployment in entry.deployments:
                if deployment.provider not in providers:
                    place = settings.origins.get(f"models.{alias}.deployments") or settings.origin(f"models.{alias}")
                    raise Invalid(
                        f"{place}: models.{alias} names the provider"
                        f" '{deployment.provider}', which is not configured.",
                        hint=f"Configured: {', '.join(providers) or 'none'}.",
                    )

    def find(self, protocol: str, model: str) -> Route:
        """Return the route of a call. Raises `NotFound` that names the known routes."""
        key = (protocol, model)
        route = self._kept.get(key)
        if route is None:
            route = self._find(protocol, model)
            self._check_key(route.provider)
            if len(self._kept) >= _MOST_KEPT:  # model names come from clients
                self._kept.clear()
            self._kept[key] = route
        return route

    def prices(self, route: Route) -> bool:
        """Say whether the price list knows the model of a route at its provider."""
        return self._book.knows(route.provider.price_id, route.model)

    @staticmethod
    def _check_key(provider: Provider) -> None:
        if provider.lacks_key:
            raise NotFound(
                f"The provider '{provider.name}' has no key.",
                hint=f"Enter it on the first page, or give [providers.{provider.name}] an api_key_file.",
                code="provider_key_missing",
            )

    def _find(self, protocol: str, model: str) -> Route:
        entry = self._settings.models.get(model)
        if entry is None:
            model = self._tiered(model)
            entry = self._settings.models.get(model)
        if entry is not None:
            ranked = sorted(entry.deployments, key=lambda deployment: (deployment.priority, -deployment.weight))
            for deployment in ranked:
                if self._providers[deployment.provider].speaks(protocol):
                    name = f"{deployment.provider}/{deployment.model}"
                    return Route(self._providers[deployment.provider], deployment.model, name)
            raise NotFound(
                f"No deployment of '{model}' speaks {protocol}.",
                hint="Call it in its own protocol.",
                code="model_not_found",
            )
        prefix, slash, rest = model.partition("/")
        if slash and prefix in self._providers:
            provider = self._providers[prefix]
            if not provider.speaks(protocol):
                raise NotFound(
                    f"The provider '{prefix}' speaks {provider.protocol}, not {protocol}.",
                    hint="Call it in its own protocol.",
                    code="model_not_found",
                )
            return Route(provider, rest, prefix)
        speaking = [provider for provider in self._providers.values() if provider.protocol == protocol]
        speaking = [provider for provider in speaking if not provider.lacks_key] or speaking
        for provider in speaking:
            if self._book.knows(provider.price_id, model):
                return Route(provider, model, provider.name)
        if len(speaking) == 1:
            return Route(speaking[0], model, speaking[0].name)
        raise self._unknown(protocol, model)

    def _tiered(self, model: str) -> str:
        for word, tier in _TIERS:
            target = str(getattr(self._settings.tiers, tier))
            if target and word in model and model.startswith("claude"):
                return target
        return model

    def _unknown(self, protocol: str, model: str) -> NotFound:
        known = self.describe()
        close = difflib.get_close_matches(model, [*self._settings.models, *self._providers], n=1)
        routes = "; ".join(known) or _NO_ROUTES
        return NotFound(
            f"No route serves the model '{model}' over {protocol}.",
            hint=(f"Did you mean '{close[0]}'? " if close else "") + f"Known routes: {routes}.",
            code="model_not_found",
        )

    def describe(self) -> list[str]:
        """Return one line a route, as callers write them; where a provider is stays with who runs the proxy."""
        lines = [
            f"{alias} → {', '.join(f'{d.provider}/{d.model}' for d in entry.deployments)}"
            for alias, entry in self._settings.models.items()
        ]
        lines += [
            f"{name}/<model>{' (has no key yet)' if provider.lacks_key else ''}"
            for name, provider in self._providers.items()
        ]
        return lines

    def models(self, protocol: str) -> list[str]:
        """Return the model names that a client of a protocol can be told: the aliases it can call."""
        return [
            alias
            for alias, entry in self._settings.models.items()
            if any(self._providers[deployment.provider].speaks(protocol) for deployment in entry.deployments)
        ]

    def table(self) -> list[dict[str, str]]:
        """Return the providers in force as rows for people, keys masked."""
        return [
            {
                "provider": provider.name,
                "protocol": provider.protocol,
                "base_url": provider.base_url,
                "auth": provider.auth,
                "key": masked(provider.api_key) or ("missing" if provider.lacks_key else ""),
                "prices": provider.price_id or "none",
                "from": provider.origin,
            }
            for provider in self._providers.values()
        ]
