"""Clients of the openai and anthropic packages, led to the proxy and back, those made before and those made later.

A client is led when it speaks to its provider's own public address, wherever it has that from. One that points
elsewhere (Azure, Bedrock, somebody's gateway) is left as it is, and so is one that signs in by tokens of its own.
"""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from ultimate_lib.kernel.environment import BASE_VARIABLES, PUBLIC_HOSTS, PUBLIC_URLS
from ultimate_lib.kernel.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from ultimate_lib.kernel.patches import Patches

MARK = "ultimate_client"
"""Extension of a request that names the led client it comes from."""
_CLASSES = {"openai": ("OpenAI", "AsyncOpenAI"), "anthropic": ("Anthropic", "AsyncAnthropic")}
_OTHERS = {"anthropic": ("AnthropicBedrock", "AsyncAnthropicBedrock", "AnthropicVertex", "AsyncAnthropicVertex")}
_KEY_VARIABLES = {"openai": {"api_key": "OPENAI_API_KEY"},
                  "anthropic": {"api_key": "ANTHROPIC_API_KEY", "auth_token": "ANTHROPIC_AUTH_TOKEN"}}  # fmt: skip
_NO_KEY: dict[str, str | None] = {"openai": "", "anthropic": None}  # as the packages themselves write it
_OWN_TOKENS = ("workload_identity", "_provider", "credentials", "_token_cache")
_CREDENTIALS = ("api_key", "auth_token", "credentials", "config", "profile", "workload_identity", "provider")


class Original(NamedTuple):
    """What a led client was: attributes as (owner, name, value, our value), its address, its key."""

    family: str
    attributes: list[tuple[Any, str, Any, Any]]
    base: Any  # the package's URL
    key: str | None  # None: it has none of its own

    def value(self, name: str) -> Any:
        """Return what an attribute was."""
        return next((value for _, told, value, _ in self.attributes if told == name), None)


_copied: ContextVar[Original | None] = ContextVar("ultimate_copied", default=None)


class Clients:
    """All clients that are led. `before` holds the environment as it was."""

    def __init__(self, url: str, key: str, before: Mapping[str, str | None]) -> None:
        self._urls = {"openai": f"{url}/v1", "anthropic": url}
        self._key = key
        self._before = before
        self._led: weakref.WeakKeyDictionary[Any, Original] = weakref.WeakKeyDictionary()
        self._own: weakref.WeakSet[Any] = weakref.WeakSet()  # their makers pointed them to the proxy themselves

    def __len__(self) -> int:
        return len(self._led)

    def lead_all(self) -> None:
        """Lead the clients that exist."""
        for family, client in existing():
            if self._is_ours(family, client):
                self._own.add(client)
            guarded(self._lead)(family, client)

    def release_all(self) -> None:
        """Make every client what it was, those that were copied behind our back too."""
        for family, client in existing():
            stray = client not in self._led and client not in self._own
            if stray and self._is_ours(family, client) and self._holds_key(client):
                guarded(self._lead_made)(family, client, None)
        for original in list(self._led.values()):
            for owner, name, value, ours in original.attributes:
                if getattr(owner, name, None) == ours:
                    setattr(owner, name, value)
        self._led.clear()

    def watch(self, module: ModuleType, patches: Patches) -> None:
        """Lead the clients that a package makes from now on, and mark their requests."""
        family = module.__name__
        for name in _CLASSES[family]:
            kind = getattr(module, name)
            patches.replace(kind, "__init__", functools.partial(self._wrap_init, family, patches))
            patches.replace(kind, "_prepare_request", functools.partial(self._wrap_prepare, patches))
            wrapped = functools.partial(self._wrap_copy, patches)
            for copy in ("copy", "with_options"):
                patches.replace(kind, copy, wrapped)

    def left(self) -> list[str]:
        """Return a sentence for each kind of client that exists and is not led."""
        told = set()
        for family, client in existing(others=True):
            if client in self._led or self._is_ours(family, client):
                continue
            name = f"{family}.{type(client).__name__}"
            why = "signs in by itself" if _signs_in(client) else "points to its own address"
            told.add(f"{name} at {client.base_url} {why} and is left as it is")
        return sorted(told)

    def _lead(self, family: str, client: Any) -> None:
        """Lead a client that speaks to the public address."""
        if client in self._led or client.base_url.host != PUBLIC_HOSTS[family] or _signs_in(client):
            return
        self._set(family, client, client.base_url, {})

    def _lead_made(self, family: str, client: Any, base_given: object) -> None:
        """Lead a client that was made while variables point to the proxy."""
        copied = _copied.get()
        environment_keys = {
            name: self._before.get(variable) or _NO_KEY[family]
            for name, variable in _KEY_VARIABLES[family].items()
            if getattr(client, name, None) == self._key
        }
        if client.base_url.host == PUBLIC_HOSTS[family]:
            if not _signs_in(client):
                self._set(family, client, client.base_url, environment_keys)
        elif not self._is_ours(family, client):
            for name, value in environment_keys.items():  # our key is for the proxy alone
                setattr(client, name, value)
        elif copied is not None:
            self._set(family, client, copied.base, environment_keys)
        elif not base_given:
            public = self._before.get(BASE_VARIABLES[family])
            base = _address(client, public or PUBLIC_URLS[family])
            if public is None:
                _say_default(client, base)
            self._set(family, client, base, environment_keys)
        else:
            self._own.add(client)

    def _set(self, family: str, client: Any, base: Any, keys: Mapping[str, str | None]) -> None:
        """Point a client to the proxy and remember what it was; `keys` are its own where it holds ours already."""
        attributes = []
        owner, name = _base_holder(client)
        attributes.append((owner, name, base, _address(client, self._urls[family])))
        held = {name: getattr(client, name, None) for name in _KEY_VARIABLES[family]}
        own = {name: keys.get(name, value) for name, value in held.items()}
        used = [name for name, value in held.items() if value] or ["api_key"]
        attributes += [(client, name, own[name], self._key) for name in used]
        if getattr(client, "_api_key_provider", None) is not None:
            attributes.append((client, "_api_key_provider", client._api_key_provider, None))  # noqa: SLF001
        for owner, name, _, ours in attributes:
            setattr(owner, name, ours)
        key = next((value for value in own.values() if value), None)
        self._led[client] = Original(family, attributes, base, key)

    def _wrap_init(self, family: str, patches: Patches, original: Callable[..., None]) -> Callable[..., None]:
        lead_made = guarded(self._lead_made)

        @functools.wraps(original)
        def made(client: Any, *args: Any, **kwargs: Any) -> None:
            original(client, *args, **kwargs)
            if patches.active:
                base = kwargs.get("base_url")
                lead_made(family, client, base if base is not None and not _is_not_given(base) else None)

        return made

    def _wrap_prepare(self, patches: Patches, original: Callable[..., Any]) -> Callable[..., Any]:
        mark = guarded(self._mark)

        @functools.wraps(original)
        def _prepare_request(client: Any, request: Any) -> Any:
            if patches.active:
                mark(client, request)
            return original(client, request)  # the async one's coroutine goes back to who awaits it

        return _prepare_request

    def _wrap_copy(self, patches: Patches, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def copy(client: Any, **kwargs: Any) -> Any:
            led = self._led.get(client) if patches.active else None
            if led is None:
                return original(client, **kwargs)
            token = _copied.set(led)
            try:
                copied = original(client, **(self._own_key(led, kwargs) or kwargs))
            finally:
                _copied.reset(token)
            if copied in self._led and hasattr(client, "_unchosen_base_url"):
                copied._unchosen_base_url = client._unchosen_base_url  # noqa: SLF001 - as for a copy with no key given
            return copied

        return copy

    @staticmethod
    @guarded
    def _own_key(led: Original, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Copy with the client's own key, so that a copy that points elsewhere does not carry ours."""
        if any(kwargs.get(name) is not None for name in _CREDENTIALS):
            return kwargs
        provider = led.value("_api_key_provider")
        own = {"api_key": provider} if provider else {name: led.value(name) for name in _KEY_VARIABLES[led.family]}
        return {**kwargs, **{name: value for name, value in own.items() if value}}

    def _mark(self, client: Any, request: Any) -> None:
        led = self._led.get(client)
        if led is not None:
            request.extensions = {**request.extensions, MARK: led}

    def _is_ours(self, family: str, client: Any) -> bool:
        return str(client.base_url).rstrip("/") == self._urls[family]

    def _holds_key(self, client: Any) -> bool:
        return self._key in {getattr(client, "api_key", None), getattr(client, "auth_token", None)}


def existing(*, others: bool = False) -> Iterator[tuple[str, Any]]:
    """Find the clients that exist, with the family of each; with `others`, those that are never led too."""
    kinds: dict[type, str] = {}
    for family, names in _CLASSES.items():
        module = sys.modules.get(family)
        for name in (*names, *(_OTHERS.get(family, ()) if others else ())) if module is not None else ():
            kind = getattr(module, name, None)
            if isinstance(kind, type):
                kinds.update(dict.fromkeys(_descendants(kind), family))
    if not kinds:
        return
    # By exact type, for proxies answer for others; by its id, for a type need not be hashable; and without a loop of
    # Python's over half a million objects.
    wanted = set(map(id, kinds))
    things = gc.get_objects()
    for client in list(itertools.compress(things, map(wanted.__contains__, map(id, map(type, things))))):
        if "_base_url" in vars(client):
            yield kinds[type(client)], client


def _descendants(kind: type) -> Iterator[type]:
    yield kind
    child: type
    for child in kind.__subclasses__():
        yield from _descendants(child)


def _signs_in(client: Any) -> bool:
    return any(getattr(client, name, None) is not None for name in _OWN_TOKENS)


def _base_holder(client: Any) -> tuple[Any, str]:
    """Return where a client keeps its address; that of `openai.chat…` may keep it in its module."""
    module = sys.modules.get(type(client).__module__)
    if type(client).__name__ == "_ModuleClient" and getattr(module, "base_url", None) is not None:
        return module, "base_url"
    return client, "_base_url"


def _say_default(client: Any, base: Any) -> None:
    """Make a client say, as without us, that nobody chose its address."""
    if hasattr(client, "_base_url_was_default"):
        client._base_url_was_default = True  # noqa: SLF001 - so `copy` lets a new credential bring its own
    if hasattr(client, "_unchosen_base_url"):
        client._unchosen_base_url = base  # noqa: SLF001


def _address(client: Any, text: str) -> Any:
    """Return an address as the client's package writes it."""
    url = type(client.base_url)(text)
    enforce = getattr(client, "_enforce_trailing_slash", None)
    return url if enforce is None else enforce(url)


def _is_not_given(value: object) -> bool:
    return type(value).__name__ in {"NotGiven", "Omit"}
