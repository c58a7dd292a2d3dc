"""Domain logic of the workbench: knows no web framework, no Jupyter, no face. Importing it loads nothing heavy.

In a notebook, `%load_ext ultimate_lib` leads LLM clients through the proxy; see `ultimate_lib.kernel`. Names of the
public system, `anomaly_detector` say, are found in `ultimate_lib.compat` when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ultimate_lib.compat import anomaly_detector as anomaly_detector

_COMPAT = frozenset({"anomaly_detector"})


def __getattr__(name: str) -> object:
    if name not in _COMPAT:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ultimate_lib import compat  # noqa: PLC0415 - few need it

    return getattr(compat, name)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Lead the LLM clients of this kernel through the proxy; what `%load_ext ultimate_lib` calls. Never raises."""
    from ultimate_lib.kernel.extension import load  # noqa: PLC0415 - only kernels need it

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Restore everything and forget the magic; what `%unload_ext ultimate_lib` calls. Never raises."""
    from ultimate_lib.kernel.extension import unload  # noqa: PLC0415 - see above

    unload(shell)
