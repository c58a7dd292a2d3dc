"""Requests on their way to the proxy, seen where httpx sends them: tagged, counted, led past it while it is away.

httpx and its successor httpx2 carry the openai and anthropic packages and most of what is built on them. Only
requests to the proxy are touched.
"""

from __future__ import annotations

import functools
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ultimate_lib.kernel import cells
from ultimate_lib.kernel.clients import MARK
from ultimate_lib.kernel.guard import guarded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import ModuleType

    from ultimate_lib.kernel.cells import Run
    from ultimate_lib.kernel.clients import Original
    from ultimate_lib.kernel.patches import Patches
    from ultimate_lib.kernel.reach import Reach

_HERE = {"127.0.0.1", "localhost", "::1"}
_CREDENTIALS = ("authorization", "x-api-key", "api-key")
_MOST_TEXT = 256  # what the gateway keeps of a header


class Tags(NamedTuple):
    """What every call of this kernel says about itself."""

    kernel: str
    notebook: Callable[[], str | None]


class Call:
    """A request under way in a run; it ends once, whoever says so first."""

    def __init__(self, run: Run | None, original: Original | None, ended: Callable[[Run], object]) -> None:
        self.run = run
        self.original = original
        self._ended = ended
        self._open = True
        self._lock = threading.Lock()
        if run is not None:
            with run.lock:
                run.sent += 1
                run.running += 1

    def end(self, *, reached: bool = True) -> None:
        """Note that the call is over; with `reached` false, that the proxy never saw it."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        run = self.run
        if run is None:
            return
        with run.lock:
            run.running -= 1
            if not reached:
                run.sent -= 1
                run.lost += 1
        self._ended(run)


class Traffic:
    """What is done with requests to the proxy at `url`, whose key is `key`."""

    def __init__(self, url: str, key: str, tags: Tags, reach: Reach, ended: Callable[[Run], object]) -> None:
        parts = urlsplit(url)
        self._scheme, self._host, self._prefix = parts.scheme, parts.hostname or "", parts.path.rstrip("/")
        self._port = parts.port or _default_port(parts.scheme)
        self._key = key
        self._tags = tags
        self._ended = guarded(ended)
        self.reach = reach

    def watch(self, module: ModuleType, patches: Patches) -> None:
        """See what a module's clients send: httpx or httpx2."""
        kinds = (module.ConnectError, module.ConnectTimeout)
        patches.replace(module.Client, "send", lambda send: self._wrap(send, module, kinds, patches))
        patches.replace(module.AsyncClient, "send", lambda send: self._wrap_async(send, module, kinds, patches))

    def explain(self, module: ModuleType, patches: Patches) -> None:
        """Make a package's own connection error tell what to do, when it is the proxy that is away."""
        is_ours = guarded(self._is_ours)

        def wrap(original: Callable[..., None]) -> Callable[..., None]:
            @functools.wraps(original)
            def made(error: Any, *args: Any, **kwargs: Any) -> None:
                plain = not args and "message" not in kwargs and "request" in kwargs
                if plain and patches.active and self.reach.down and is_ours(kwargs["request"]):
                    kwargs["message"] = self.reach.explanation
                original(error, *args, **kwargs)

            return made

        patches.replace(module.APIConnectionError, "__init__", wrap)

    def _wrap(
        self, original: Callable[..., Any], module: ModuleType, away: tuple[type[Exception], ...], patches: Patches
    ) -> Callable[..., Any]:
        @functools.wraps(original)
        def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._begin(request) if patches.active else None
            if call is None or self._direct(call, request):
                return original(client, request, *args, **kwargs)
            try:
                response = original(client, request, *args, **kwargs)
            except away as error:
                if self._lost(call, request):
                    return original(client, request, *args, **kwargs)
                raise module.ConnectError(self.reach.explanation, request=request) from error
            except BaseException:
                call.end()
                raise
            self._answered(call, response, module)
            return response

        return send

    def _wrap_async(
        self, original: Callable[..., Any], module: ModuleType, away: tuple[type[Exception], ...], patches: Patches
    ) -> Callable[..., Any]:
        @functools.wraps(original)
        async def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._begin(request) if patches.active else None
            if call is None or self._direct(call, request):
                return await original(client, request, *args, **kwargs)
            try:
                response = await original(client, request, *args, **kwargs)
            except away as error:
                if self._lost(call, request):
                    return await original(client, request, *args, **kwargs)
                raise module.ConnectError(self.reach.explanation, request=request) from error
            except BaseException:
                call.end()
                raise
            self._answered(call, response, module)
            return response

        return send

    @guarded
    def _begin(self, request: Any) -> Call | None:
        """Tag a request to the proxy; None for one to elsewhere."""
        if not self._is_ours(request):
            return None
        original: Original | None = request.extensions.get(MARK)
        run = cells.current()
        headers = request.headers
        headers.encoding = "utf-8"  # as the gateway reads it
        tags = {
            "X-Ultimate-Kernel": self._tags.kernel,
            "X-Ultimate-Notebook": self._tags.notebook(),
            "X-Ultimate-Cell": run.cell_id if run is not None else None,
        }
        for name, value in tags.items():
            if value and name not in headers:
                headers[name] = "".join(letter for letter in value if letter.isprintable())[-_MOST_TEXT:]
        call = Call(run, original, self._ended)
        if original is not None:
            self._hold_back(call, headers)
        return call

    def _hold_back(self, call: Call, headers: Any) -> None:
        """Let no key of a provider go to the proxy that a led client or its caller put into a header meanwhile."""
        for name in _CREDENTIALS:
            held = headers.get(name)
            if not held:
                continue
            scheme, _, secret = held.rpartition(" ")
            if not secret.startswith("cp_"):
                headers[name] = f"{scheme} {self._key}" if scheme else self._key
                if call.original is not None:
                    call.original = call.original._replace(key=secret)

    @guarded
    def _direct(self, call: Call, request: Any) -> bool:
        """Lead a request past the proxy if that is known to be away and the client can do without."""
        return self.reach.down and self._turn(call, request)

    @guarded
    def _lost(self, call: Call, request: Any) -> bool:
        """Note that the proxy is away, and lead the request past it if the client can do without."""
        self.reach.lost()
        if self._turn(call, request):
            return True
        call.end(reached=False)
        return False

    def _turn(self, call: Call, request: Any) -> bool:
        original = call.original
        if original is None or original.key is None:
            return False
        headers = request.headers
        for name in [name for name in headers if name.lower().startswith("x-ultimate-")]:
            del headers[name]
        for name in _CREDENTIALS:
            held = headers.get(name)
            if held and self._key in held:
                headers[name] = held.replace(self._key, original.key)
        base = original.base
        rest = request.url.raw_path.removeprefix(self._prefix.encode())
        if original.family == "openai":
            rest = rest.removeprefix(b"/v1")
        request.url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + rest)
        headers["Host"] = request.url.netloc.decode("ascii")
        if call.run is not None:
            with call.run.lock:
                call.run.direct += 1
        call.end(reached=False)
        return True

    @guarded
    def _answered(self, call: Call, response: Any, module: ModuleType) -> None:
        """Learn the call's id, and when its answer has been read to the end."""
        call_id = response.headers.get("x-ultimate-call-id")
        if call.run is not None and call_id:
            with call.run.lock:
                call.run.ids.add(call_id)
        if response.is_closed:
            call.end()
            return
        kind = _async_stream if isinstance(response.stream, module.AsyncByteStream) else _sync_stream
        response.stream = kind(module, response.stream, call)
        weakref.finalize(response.stream, call.end)  # an answer that is dropped half read

    def _is_ours(self, request: Any) -> bool:
        url = request.url
        host = url.host
        return (
            url.scheme == self._scheme
            and (host == self._host or {host, self._host} <= _HERE)
            and (url.port or _default_port(url.scheme)) == self._port
            and url.path.startswith(self._prefix)
        )


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _sync_stream(module: ModuleType, inner: Any, call: Call) -> Any:
    class Watched(module.SyncByteStream):  # type: ignore[misc, name-defined] # httpx or httpx2, known at run time
        def __iter__(self) -> Iterator[bytes]:
            yield from inner

        def close(self) -> None:
            try:
                inner.close()
            finally:
                call.end()

    return Watched()


def _async_stream(module: ModuleType, inner: Any, call: Call) -> Any:
    class Watched(module.AsyncByteStream):  # type: ignore[misc, name-defined] # see above
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in inner:
                yield part

        async def aclose(self) -> None:
            try:
                await inner.aclose()
            finally:
                call.end()

    return Watched()
