"""How it stands, in a few lines for people: the answer of `%ultimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultimate_lib.kernel.extension import Extension


def text(extension: Extension) -> str:
    """Return what is routed where, what is not, and what to do next."""
    routed = extension.routed
    lines = []
    if routed is None:
        lines.append(f"Calls are not routed. {extension.reason}".rstrip())
        lines.append("`%ultimate on` routes them.")
    else:
        place = routed.checked.place
        demo = ", demo data" if routed.checked.demo else ""
        lines.append(f"Calls go through {place.url} (version {routed.checked.version}{demo}; {place.source}).")
        if routed.reach.down:
            lines.append(routed.reach.explanation)
        count = len(routed.clients)
        lines.append(f"Clients: {count} of openai and anthropic led to it; later ones follow by themselves.")
        lines += [f"  {sentence}." for sentence in routed.clients.left()]
        lines += [
            f"  {name} points to {url} and is left: unset it, then `%ultimate on`, to route it too."
            for name, url in routed.environment.left.items()
        ]
    unknown = "not known here; calls are tagged with kernel and cell alone"
    lines.append(f"Notebook: {extension.notebook.path or unknown}")
    lines.append(f"Kernel: {extension.kernel_id}")
    shown = "by JupyterLab, unsaved" if extension.front.by_comm else "as plain output"
    lines.append(f"Line under cells: {f'on, {shown}' if extension.line_on else 'off'}")
    lines.append("Words: cost, calls, on, off, line on, line off, help.")
    return "\n".join(lines)
