"""Where a dashboard runs, and what that place needs: a server's page, JupyterLab, Voila, no front end at all.

Nothing is ever fetched from another origin: in a notebook Panel's own scripts and styles go into the output (3 MB,
once a notebook), on a server they come from the server.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path


def setup() -> None:
    """Prepare a notebook for Panel; call it once, before the first dashboard.

    JupyterLab and Voila speak to a kernel by ipywidgets alone, since Voila knows no other comms. `inline` puts the
    scripts into the notebook's output instead of addresses of a content network.
    """
    import panel as pn  # noqa: PLC0415 - 2 s, and only where a dashboard is shown

    pn.extension(comms="ipywidgets", inline=True, console_output="disable")


@functools.cache
def style(part: str) -> str:
    """Return a part of style.css. Each component is a shadow tree of its own and gets only what concerns it."""
    text = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    _, *parts = re.split(r"/\* == (\w+).*\*/\n", text)
    return dict(zip(parts[::2], parts[1::2], strict=True))[part]
