"""Where a dashboard runs, and what that place needs: a server's page, JupyterLab, Voila, no front end at all.

Nothing is ever fetched from another origin: in a notebook Panel's own scripts and styles go into the output (3 MB,
once a notebook), on a server they come from the server.
"""

from __future__ import annotations

import asyncio
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_UNHEARD_S = 3600.0
_ROOT = "up-root"  # class of a dashboard's outermost component
_INPUTS = {"value", "active", "clicks"}  # properties that a person changes


def setup() -> None:
    """Prepare a notebook for Panel; call it once, before the first dashboard.

    JupyterLab and Voila speak to a kernel by ipywidgets alone, since Voila knows no other comms. `inline` puts the
    scripts into the notebook's output instead of addresses of a content network.
    """
    import panel as pn  # noqa: PLC0415 - 2 s, and only where a dashboard is shown

    pn.extension(comms="ipywidgets", inline=True, console_output="disable")
    _keep_echoes_out()


def _keep_echoes_out() -> None:
    """Take from a dashboard's front end what its inputs say, and nothing else.

    jupyter_bokeh sends each change of the kernel's back to the kernel. One that comes late would undo a newer one
    there: a card that began to load, was done and began again would say for ever that it loads.
    """
    from jupyter_bokeh.widgets import BokehModel  # noqa: PLC0415 - see `setup`

    take = BokehModel._sync_model  # noqa: SLF001 - there is no other place between the two
    if getattr(take, "keeps_echoes_out", False):
        return

    @functools.wraps(take)
    def take_inputs(widget: Any, model: Any, content: dict[str, Any], buffers: Any) -> None:
        ours = _ROOT in widget._model.css_classes  # noqa: SLF001 - see above
        if not (ours and content.get("kind") == "ModelChanged" and content.get("attr") not in _INPUTS):
            take(widget, model, content, buffers)

    take_inputs.keeps_echoes_out = True  # type: ignore[attr-defined] # for the next call
    BokehModel._sync_model = take_inputs  # noqa: SLF001 - see above


def own_styles(_view: Any, root: Any, _changed: Any = None, _old: Any = None) -> None:
    """Take Panel's style sheets off every component: all that shows is in style.css.

    A hook of Panel's, called before anything is sent. In a notebook those sheets would come from a content network,
    and on a server they are four files for each of a hundred components.
    """
    from bokeh.models.css import ImportedStyleSheet  # noqa: PLC0415 - see `setup`
    from bokeh.models.ui import UIElement  # noqa: PLC0415 - see `setup`

    for model in root.select({"type": UIElement}):
        kept = [sheet for sheet in model.stylesheets if not isinstance(sheet, ImportedStyleSheet)]
        if len(kept) < len(model.stylesheets):
            model.stylesheets = kept


def laid_out(title: Any, controls: Any, tiles: Iterable[Any], *hidden: Any) -> tuple[Any, Any]:
    """Return a dashboard's outermost column, and the one that holds its tiles; `hidden` are inputs without a look."""
    import panel as pn  # noqa: PLC0415 - see `setup`

    grid = pn.Column(
        *tiles, css_classes=["up-tiles"], stylesheets=[style("tiles")], margin=0, sizing_mode="stretch_width"
    )
    root = pn.Column(
        title, controls, grid, *hidden, css_classes=[_ROOT], stylesheets=[style("root")], hooks=[own_styles],
        margin=0, sizing_mode="stretch_width",
    )  # fmt: skip
    return root, grid


class Beat:
    """Lets a kernel's dashboard look for news while a front end shows it. `panel` has to be part of what is shown.

    The kernel asks and each visible front end answers by changing `pulse`, a hidden text input; so a page that nobody
    looks at asks nothing of the proxy. It ends when nobody has answered for an hour, and begins again with `start`.
    """

    def __init__(self, pulse: Any, every_s: float) -> None:
        import panel as pn  # noqa: PLC0415 - see `setup`

        self.panel = pn.widgets.TextInput(value="", visible=False)
        self.panel.jscallback(args={"pulse": pulse}, value="if (!document.hidden) { pulse.value = cb_obj.value }")
        self._every_s = every_s
        self._count = self._heard = 0
        self._asking: Any = None
        pulse.param.watch(self._answered, "value")

    def start(self) -> None:
        """Begin, unless it runs. Without an event loop (a plain script) there is no front end that could answer."""
        import panel as pn  # noqa: PLC0415 - see `setup`

        self._heard = self._count
        if self._asking is not None:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self._asking = pn.state.add_periodic_callback(self._ask, period=int(self._every_s * 1000))

    def _ask(self) -> None:
        self._count += 1
        if (self._count - self._heard) * self._every_s > _UNHEARD_S:
            self._asking.stop()
            self._asking = None
            return
        self.panel.value = str(self._count)

    def _answered(self, _event: Any) -> None:
        self._heard = self._count


class Words:
    """A piece of HTML on the page. `panel` is shown; giving it another `html` sends that and nothing else.

    A Bokeh model under Panel's hood: Panel's own pane sends its style sheets again with each change.
    """

    def __init__(self, html: str, sheet: Any) -> None:
        import panel as pn  # noqa: PLC0415 - see `setup`
        from bokeh.models.widgets import Div  # noqa: PLC0415 - likewise

        self._div = Div(text=html, disable_math=True, stylesheets=[sheet], sizing_mode="stretch_width", margin=0)
        self._div.visible = bool(html)
        self.panel = pn.pane.Bokeh(self._div, margin=0, sizing_mode="stretch_width")

    @property
    def html(self) -> str:
        """What is shown."""
        return str(self._div.text)

    @html.setter
    def html(self, html: str) -> None:
        if self._div.text != html:
            self._div.text = html
            self._div.visible = bool(html)


class Choice:
    """A box to tick, with its words. `panel` is shown, `on` tells; `changed` is called after each change by hand.

    One of a group of one: Bokeh's single checkbox has no name for a screen reader, and its buttons lose the
    keyboard's focus when their words change.
    """

    def __init__(self, words: str, changed: Callable[[], None], *, on: bool = False, small: bool = False) -> None:
        import panel as pn  # noqa: PLC0415 - see `setup`

        self.panel = pn.widgets.CheckBoxGroup(
            options=[words],
            value=[words] if on else [],
            css_classes=["up-small"] if small else [],
            stylesheets=[style("control")],
            margin=0,
        )
        self.panel.param.watch(lambda _: changed(), "value")

    @property
    def on(self) -> bool:
        """Whether it is ticked."""
        return bool(self.panel.value)


@functools.cache
def style(part: str) -> str:
    """Return a part of style.css. Each component is a shadow tree of its own and gets only what concerns it."""
    text = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    _, *parts = re.split(r"/\* == (\w+).*\*/\n", text)
    return dict(zip(parts[::2], parts[1::2], strict=True))[part]
