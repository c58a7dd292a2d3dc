"""`predictive detect`: whether one call is unlike those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.parser import command
from claude_proxy.cli.spending import OVER

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_UNITS = {"cost_usd": "usd", "input_tokens": "tokens"}


def add(below: Any) -> None:
    """Add the command under `predictive`."""
    parser = command(
        below, "detect", _detect,
        says="Whether a call is unlike those before it of its key and model: exit status 4 when it is.",
        example="claude-proxy predictive detect claude-sonnet-4-5 --input-tokens 1200 --output-tokens 90000",
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--input-tokens", type=int, metavar="N", help="alone, they are judged as at the proxy's door")
    parser.add_argument("--output-tokens", type=int, metavar="N", help="with --input-tokens they give the cost")
    parser.add_argument("--cost-usd", type=float, metavar="USD", help="what it cost; default: by the price list")
    parser.add_argument("--key-id", metavar="ID", help="default: the key in use")
    parser.add_argument("--provider", metavar="NAME", help="whose price holds, where sellers differ")


def _detect(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.detect_anomaly(
        asked.model, key_id=asked.key_id, input_tokens=asked.input_tokens, output_tokens=asked.output_tokens,
        cost_usd=asked.cost_usd, provider=asked.provider,
    )  # fmt: skip
    (figure,) = shown.columns([answer["measure"]], {answer["measure"]: _UNITS[answer["measure"]]})
    told = [
        ("anomaly", "yes" if answer["is_anomaly"] else "no", answer["is_anomaly"]),
        ("action", answer["action"], answer["action"]),
        (figure.title, figure.show(answer["value"]), answer["value"]),
        ("usual at most", figure.show(answer["expected_high"]), answer["expected_high"]),
        ("score", f"{answer['score']:.2f} of {answer['limit']:g}", answer["score"]),
    ]
    output.pairs(told, document=answer)
    if output.form == "table":
        output.line()
        output.line(answer["reason"])
    return OVER if answer["is_anomaly"] else 0
