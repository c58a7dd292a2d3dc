"""Pictures as HTML: large numbers, bars, tables, legends. Every value is escaped; the classes are in style.css."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ultimate_lib.dashboards import palette, units
from ultimate_lib.dashboards.shapes import OTHER, Cells, Fan

if TYPE_CHECKING:
    from ultimate_lib.dashboards.shapes import Bars, Figure, Figures, Grid, Steps

_CLOSE = 0.0005


def figures(picture: Figures) -> str:
    """Return large numbers as a definition list."""
    return f'<dl class="up-figures">{"".join(_figure(one, picture.before) for one in picture.figures)}</dl>'


def _figure(one: Figure, before: str) -> str:
    change = units.change(one.value, one.before)
    told = f"{change}, {before}: {units.exact(one.before, one.unit)}" if change else ""
    tone = _tone(one)
    whole, short = escape(units.whole(one.value, one.unit)), escape(units.short(one.value, one.unit))
    if one.words:
        whole = short = escape(one.words)
    tone_of = f" up-{one.tone}" if one.tone else ""
    lines = f'<dd class="up-value{tone_of}" title="{whole}">{short}</dd>'
    if change:
        lines += f'<dd class="up-quiet"><span class="{tone}" title="{escape(told)}">{escape(change)}</span></dd>'
    if one.note:
        lines += f'<dd class="up-quiet">{escape(one.note)}</dd>'
    return f"<div><dt>{escape(one.label)}</dt>{lines}</div>"


def _tone(one: Figure) -> str:
    if not one.more_is or not one.before or one.value is None or abs(one.value / one.before - 1) < _CLOSE:
        return "up-change"
    rose = one.value > one.before
    return "up-change up-bad" if rose == (one.more_is == "worse") else "up-change up-good"


def bars(picture: Bars) -> str:
    """Return named bars as a list: each with its name, its value and its share."""
    most = max((bar.value or 0.0 for bar in picture.bars), default=0.0)
    rows = []
    for bar in picture.bars:
        part = (bar.value or 0.0) / most if most else 0.0
        share = f" · {bar.value / picture.total:.0%}" if bar.value is not None and picture.total else ""
        look = palette.REST if bar.name == OTHER else palette.LOOKS[0]
        name, value, note = escape(bar.name), escape(units.exact(bar.value, picture.unit)), escape(bar.note)
        rows.append(
            f'<li><span class="up-name" title="{name}">{name}</span><span class="up-n" title="{note}">{value}'
            f'<span class="up-quiet">{escape(share)}</span></span>'
            f'<span class="up-bar" style="width:{part * 100:.1f}%;background:{look.color}"></span></li>'
        )
    return f'<ul class="up-bars">{"".join(rows)}</ul>'


def grid(picture: Grid, caption: str) -> str:
    """Return a table with a header; `caption` is read aloud before it."""
    head = "".join(
        f'<th scope="col"{_n(picture, index)}>{escape(name)}</th>' for index, name in enumerate(picture.header)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{_n(picture, index)} title="{escape(cell)}">{escape(cell)}</td>' for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in picture.rows
    )
    note = f'<p class="up-quiet">{escape(picture.note)}</p>' if picture.note else ""
    return (
        f'<div class="up-scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="up-grid">'
        f'<caption class="up-hidden">{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _n(picture: Grid, index: int) -> str:
    if index in picture.long:
        return ' class="up-long"'
    return ' class="up-n"' if index in picture.numbers else ""


def legend(picture: Steps | Fan | Cells) -> str:
    """Return what each colour and pattern stands for."""
    if isinstance(picture, Fan):
        blue, orange = palette.LOOKS[:2]
        return _keys(
            (_line(palette.REST.color, (), 2), "has been"),
            (_line(blue.color, (), 3), "expected"),
            (_area(palette.NEAR), "80 % of what may come"),
            (_area(palette.FAR), "95 %"),
            (_line(orange.color, orange.dash, 2), "naive: the last cycle again"),
        )
    if isinstance(picture, Cells):
        shades = "".join(_area(alpha) for alpha in (0.08, 0.45, 0.85))
        found = [(shades, f"little to much ({units.AXES[picture.unit]})"), (_MARK, "anomaly")]
        if not all(cell.judged for cell in picture.cells):
            found.append((_area(0.3, palette.REST.color), "learnt from, not judged"))
        return _keys(*found)
    items = []
    for index, series in enumerate(picture.series):
        look = palette.REST if series.name == OTHER else palette.look(index)
        key, name = _key(look, stacked=picture.stacked), escape(series.name)
        items.append(f'<li title="{name}">{key}<span>{name}</span></li>')
    if picture.runs and picture.stacked:
        items.append(f'<li class="up-quiet">pale: the {escape(picture.grain)} still runs</li>')
    return f'<ul class="up-legend">{"".join(items)}</ul>'


def _keys(*told: tuple[str, str]) -> str:
    items = "".join(f"<li>{key}<span>{escape(words)}</span></li>" for key, words in told)
    return f'<ul class="up-legend">{items}</ul>'


def _line(color: str, dash: tuple[int, ...], width: float) -> str:
    gaps = " ".join(map(str, dash))
    path = f'<path d="M0 6H26" stroke="{color}" stroke-width="{width}" stroke-dasharray="{gaps}"/>'
    return f'<svg viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">{path}</svg>'


def _area(alpha: float, color: str = palette.LOOKS[0].color) -> str:
    rect = f'<rect width="12" height="12" rx="2" fill="{color}" fill-opacity="{alpha}"/>'
    return f'<svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">{rect}</svg>'


_MARK = (
    f'<svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">'
    f'<path d="M6 0L12 6L6 12L0 6Z" fill="{palette.LOOKS[1].color}" stroke="#fff" stroke-width="1"/></svg>'
)
_HATCHES = {
    " ": "",
    "/": '<path d="M-2 10L6 2M4 16L14 6"/>',
    "\\": '<path d="M-2 2L6 10M4 -2L14 8"/>',
    ".": '<circle cx="3" cy="3" r=".8"/><circle cx="9" cy="3" r=".8"/><circle cx="6" cy="8" r=".8"/>',
    "-": '<path d="M0 4H12M0 8H12"/>',
    "|": '<path d="M4 0V12M8 0V12"/>',
    "x": '<path d="M0 0L12 12M12 0L0 12"/>',
    "o": '<circle cx="6" cy="6" r="2.5"/>',
}


def _key(look: palette.Look, *, stacked: bool) -> str:
    if stacked:
        inside = (
            f'<rect width="12" height="12" rx="2" fill="{look.color}"/>'
            f'<g fill="none" stroke="#fff" stroke-opacity=".7">{_HATCHES[look.hatch]}</g>'
        )
        return f'<svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">{inside}</svg>'
    return _line(look.color, look.dash, 2.5)
