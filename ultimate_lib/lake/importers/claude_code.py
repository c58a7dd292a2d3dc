"""Claude Code's session logs, `~/.claude/projects/**/*.jsonl`: one call per (message id, request id).

A call's answer is logged as several lines, one a content block, whose usage grows: the last one counts. Resuming a
conversation copies its lines into another file: they count once. Lines of sub-agents stand in files of their own, in
the session's, or within `progress` lines. Some gateways give no request id: then the message id alone counts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ultimate_lib.clock import to_us
from ultimate_lib.lake.importers import Found, Row, Skip, _files
from ultimate_lib.protocols import anthropic_messages
from ultimate_lib.records import CallRecord, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ultimate_lib.protocols import ResponseFacts

_SECOND_US = 1_000_000
_SETTLED_US = 60 * _SECOND_US  # a call with a stop reason: its row may not have reached the lake yet
_ABANDONED_US = 3600 * _SECOND_US  # a call without: further lines may come until it is given up
_FIRST_US = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * _SECOND_US
_MOST_TOKENS = 10**10
_SLASHES = re.compile(r"[\\/]+")
_HOSTS = (("msg_bdrk_", "bedrock"), ("msg_vrtx_", "vertex"), ("msg_", "anthropic"))

_AGAIN = Skip("a further line of a call", expected=True)
_NOTICE = Skip("an error or notice that Claude Code wrote itself", expected=True)


class _Line(msgspec.Struct, rename="camel"):
    type: Any = None
    message: msgspec.Raw = msgspec.Raw()
    request_id: Any = None
    timestamp: Any = None
    session_id: Any = None
    cwd: Any = None
    is_sidechain: Any = None
    agent_id: Any = None
    is_api_error_message: Any = None
    data: msgspec.Raw = msgspec.Raw()


class _Progress(msgspec.Struct, rename="camel"):
    message: _Line | None = None
    agent_id: Any = None


class _Call(msgspec.Struct, array_like=True):
    """A call as far as its lines have been read; texts are numbers in `_Texts`. Kept packed: there may be many."""

    first_us: int
    last_us: int
    usage: tuple[int | None, ...]
    model: int
    finish: int
    tier: int
    session: int
    project: int
    agent: int
    sidechain: bool


_line = msgspec.json.Decoder(_Line)
_progress = msgspec.json.Decoder(_Progress)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Call).decode
_COUNTS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "reasoning_tokens", "server_tool_requests",
)  # fmt: skip
_OUTPUT = _COUNTS.index("output_tokens")


class _Texts:
    """Texts that many calls share, as small numbers; None is 0."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {None: 0}
        self._texts: list[str | None] = [None]

    def number(self, text: Any) -> int:
        if not isinstance(text, str) or not text:
            return 0
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self._texts)
            self._texts.append(text)
        return found

    def __getitem__(self, number: int) -> str | None:
        return self._texts[number]


class _Log:
    """All lines read so far, as calls by message id and request id."""

    def __init__(self) -> None:
        self._calls: dict[str, bytes] = {}
        self._texts = _Texts()

    def take(self, raw: bytes, where: str) -> Skip | None:
        """Take one line; return why it is no call of its own, None for the first line of a call."""
        try:
            line = _line.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Skip(_broken(raw, error), where)
        if line.type == "progress":
            line = _within(line)
        if line.type != "assistant":
            return Skip(f"not an answer: {line.type}" if isinstance(line.type, str) else "without a type", "", True)
        facts = anthropic_messages.read_response(line.message)
        if facts.model_served == "<synthetic>" or line.is_api_error_message is True:
            return _NOTICE
        at_us = _instant(line.timestamp)
        wrong = _wrong(facts, at_us)
        if wrong is not None:
            return Skip(wrong, where)
        return self._add(line, facts, at_us)

    def _add(self, line: _Line, facts: ResponseFacts, at_us: int) -> Skip | None:
        request_id = line.request_id if isinstance(line.request_id, str) else ""
        texts, usage = self._texts, facts.usage or Usage()
        call = _Call(
            at_us, at_us, tuple(getattr(usage, name) for name in _COUNTS), texts.number(facts.model_served),
            texts.number(facts.finish_reason), texts.number(usage.service_tier), texts.number(line.session_id),
            texts.number(_folder(line.cwd)), texts.number(line.agent_id), line.is_sidechain is True,
        )  # fmt: skip
        key = f"{facts.upstream_id}\0{request_id}"
        known = self._calls.get(key)
        if known is None:
            self._calls[key] = _pack(call)
            return None
        self._calls[key] = _pack(_merged(_unpack(known), call))
        return _AGAIN

    def calls(self, now_us: int) -> Iterator[Row | Skip]:
        """Yield the calls, oldest first, and let go of them."""
        self._join()
        calls = self._calls
        for key in sorted(calls, key=lambda key: _unpack(calls[key]).first_us):
            call = _unpack(calls.pop(key))
            upstream_id, _, request_id = key.partition("\0")
            settled_us = _SETTLED_US if call.finish else _ABANDONED_US
            if call.last_us > now_us - settled_us:
                yield Skip("too fresh, it may still be going on: import again later", upstream_id)
            else:
                yield self._row(call, upstream_id, request_id)

    def _join(self) -> None:
        """Lines without a request id belong to the call of their message, if another line names its request."""
        calls = self._calls
        bare = {key[:-1] for key in calls if key.endswith("\0")}
        if not bare:
            return
        for key in [key for key in calls if key.partition("\0")[0] in bare and not key.endswith("\0")]:
            other = calls.pop(key.partition("\0")[0] + "\0", None)
            if other is not None:
                calls[key] = _pack(_merged(_unpack(other), _unpack(calls[key])))

    def _row(self, call: _Call, upstream_id: str, request_id: str) -> Row:
        texts = self._texts
        model = texts[call.model] or ""
        claude = model.startswith(("claude", "anthropic.claude"))
        provider = next((name for prefix, name in _HOSTS if upstream_id.startswith(prefix)), None) if claude else None
        record = CallRecord(
            call_id="", started_at=call.first_us, upstream_id=upstream_id, app="claude-code", operation="chat",
            protocol_in="anthropic-messages", endpoint=anthropic_messages.path, provider=provider,
            model_requested=model, model_served=model, session_id=texts[call.session], agent_id=texts[call.agent],
            project=texts[call.project], finish_reason=texts[call.finish], status="ok", usage_source="provider",
            tags=["sidechain=true"] if call.sidechain else None,
        )  # fmt: skip
        usage = Usage(service_tier=texts[call.tier], **dict(zip(_COUNTS, call.usage, strict=True)))
        return Row(record, usage, "anthropic", request_id)


def _merged(had: _Call, new: _Call) -> _Call:
    """Join two lines of a call: what the later one says counts; where it was made is what was read first.

    Of two lines of one instant the one that tells more output is the later.
    """
    late = new if (new.last_us, new.usage[_OUTPUT] or 0) >= (had.last_us, had.usage[_OUTPUT] or 0) else had
    return msgspec.structs.replace(
        had, first_us=min(had.first_us, new.first_us), last_us=late.last_us, usage=late.usage, model=late.model,
        finish=late.finish or had.finish or new.finish, tier=late.tier, session=had.session or new.session,
        project=had.project or new.project, agent=had.agent or new.agent, sidechain=had.sidechain or new.sidechain,
    )  # fmt: skip


def _within(line: _Line) -> _Line:
    """Return the answer of a sub-agent that a progress line carries, else the line itself."""
    try:
        progress = _progress.decode(line.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    inner = progress.message
    if inner is None or inner.type != "assistant":
        return line
    inner.timestamp = inner.timestamp or line.timestamp
    inner.session_id = inner.session_id or line.session_id
    inner.cwd = inner.cwd or line.cwd
    inner.agent_id = inner.agent_id or progress.agent_id
    inner.is_sidechain = True
    return inner


def _broken(raw: bytes, error: Exception) -> str:
    if not raw.endswith(b"\n"):
        return "an unfinished last line"
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "broken UTF-8"
    return "not a JSON object" if isinstance(error, msgspec.ValidationError) else "broken JSON"


def _instant(text: Any) -> int:
    """Return an ISO instant in µs since 1970; 0 when it is none, or names no zone."""
    try:
        return to_us(datetime.fromisoformat(text))
    except (ValueError, TypeError, OverflowError):
        return 0


def _wrong(facts: ResponseFacts, at_us: int) -> str | None:
    """Return why an answer cannot be counted, None when it can."""
    if facts.upstream_id is None:
        return "an answer without message id, which could not be counted once"
    usage = facts.usage
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return "an answer without token counts"
    if max(usage.input_tokens, usage.output_tokens) > _MOST_TOKENS:
        return "an answer with impossible token counts"
    if facts.model_served is None:
        return "an answer without model"
    if at_us < _FIRST_US:
        return "an answer without a usable timestamp"
    return None


def _folder(cwd: Any) -> str | None:
    """Return the last part of a path of any system."""
    if not isinstance(cwd, str):
        return None
    return next((part for part in reversed(_SLASHES.split(cwd)) if part), None)


class ClaudeCode:
    """The importer."""

    sentence = "Claude Code session logs"
    billing = "subscription"

    def places(self, environment: Mapping[str, str]) -> list[Path]:
        """Return CLAUDE_CONFIG_DIR's projects, else those of the two folders that Claude Code uses by itself."""
        named = environment.get("CLAUDE_CONFIG_DIR", "")
        if named:
            return [Path(part.strip()).expanduser() / "projects" for part in named.split(",") if part.strip()]
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
        return [home / ".claude" / "projects", home / ".config" / "claude" / "projects"]

    def find(self, places: Sequence[Path]) -> Found:
        """Return the log files; those written to last come last, so that a copy follows its original."""
        return _files.find(places, ".jsonl")

    def read(self, files: Sequence[Path], now_us: int, progress: Callable[[int], None]) -> Iterator[Row | Skip]:
        """Yield the calls of all files together, once every line has been read."""
        log = _Log()
        for path in files:
            for item in _files.read_lines(path, progress):
                if isinstance(item, Skip):
                    yield item
                    continue
                number, raw = item
                if raw.isspace():
                    continue
                skip = log.take(raw, f"{path}:{number}")
                if skip is not None:
                    yield skip
        yield from log.calls(now_us)


importer = ClaudeCode()
