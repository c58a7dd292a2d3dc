"""`ultimate-proxy up`: start everything; or with --role one kind of process alone, for a cluster."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy_server import logs
from proxy_server.commands.browser import open_page
from proxy_server.commands.common import add_places, demo_overrides, overrides, settings_and_text
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from proxy_server.supervisor import Started


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "up",
        help="start the proxy (the default)",
        description="Start gateways, control and worker. Ctrl-C finishes the open calls; twice leaves at once.",
    )
    add_places(parser)
    parser.add_argument("--port", type=int, metavar="N", help="port of the proxy (default 8082; 0 takes a free one)")
    parser.add_argument("--bind", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--gateways", type=_gateways, metavar="N|auto", help="gateway processes (default 1; auto: one a processor)"
    )
    parser.add_argument(
        "--insecure-http", action="store_true", help="allow plain HTTP on an address other than loopback"
    )
    parser.add_argument("--no-local-key", action="store_true", help="write no local.json with a key for this user")
    _add_extras(parser)
    parser.add_argument(
        "--role", choices=("gateway", "control", "worker"), help="run one kind of process alone, without a supervisor"
    )
    parser.add_argument("--slot", type=int, default=0, metavar="N", help="with --role: number of this process (0)")
    parser.add_argument(
        "--control", default="", metavar="HOST:PORT", help="with --role gateway: where control listens"
    )
    parser.set_defaults(run=run)


def _add_extras(parser: argparse.ArgumentParser) -> None:
    """Add what comes on top of a plain proxy."""
    parser.add_argument(
        "--demo", action="store_true", help="made-up data in a folder of its own, a scripted provider: no key needed"
    )
    parser.add_argument(
        "--demo-data", action=argparse.BooleanOptionalAction, default=True,
        help="with --demo: eleven weeks of made-up calls (default: yes)",
    )  # fmt: skip
    parser.add_argument(
        "--demo-traffic", action=argparse.BooleanOptionalAction, default=True,
        help="with --demo: a made-up call every few seconds (default: yes)",
    )  # fmt: skip
    parser.add_argument("--lab", action="store_true", help="start JupyterLab, too, with a copy of the notebooks")
    parser.add_argument(
        "--lab-port", type=int, metavar="N", help="port of JupyterLab (default: the first free one from 8888 on)"
    )
    parser.add_argument("--open", action="store_true", help="open the first page in a browser, if there is a desktop")


def _gateways(text: str) -> int | str:
    if text == "auto":
        return text
    if text.isdigit() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError("give a number from 1 on, or 'auto'")


def run(arguments: argparse.Namespace) -> int:
    """Start, stay, leave."""
    given = overrides(arguments)
    settings, text = settings_and_text(arguments, given)
    if arguments.demo:
        given |= demo_overrides(settings, history=arguments.demo_data, traffic=arguments.demo_traffic)
        settings, text = settings_and_text(arguments, given)
    logs.configure(settings.log, process="supervisor" if arguments.role is None else arguments.role)
    if arguments.role is not None:
        if arguments.lab:
            raise Invalid("--lab does not go with --role.", hint="Start JupyterLab where people work: `jupyter lab`.")
        return _alone(arguments, given)
    from proxy_server.supervisor import running  # noqa: PLC0415 - a role alone does not need it

    lab = None
    if arguments.lab:
        from proxy_server.lab import Lab  # noqa: PLC0415 - few need it

        lab = Lab(arguments.lab_port)
    announce = partial(_announce, opens=arguments.open)
    return running(settings, text, given, announce=announce, demo_now=arguments.demo, lab=lab)


def announcement(started: Started) -> str:
    """Return what people need first, in lines; an empty one ends it."""
    settings = started.settings
    local = settings.local_url
    url = settings.server.public_url or local
    rows = [("sign in", f"{url}/login?link={started.link_token}  (once, within 30 minutes)")]
    if started.lab_url:
        rows.append(("JupyterLab", f"{started.lab_url}  (in a few seconds)"))
    rows += [
        ("OpenAI", f"{local}/v1  (base URL of its clients)"),
        ("Anthropic", f"{local}  (base URL of its clients)"),
        ("key", f"in {started.local_json}" if started.local_json is not None else "make one on the page (/api/keys)"),
        ("data folder", str(settings.data_dir)),
        ("configuration", str(settings.config_path or "none (built-in values and the environment)")),
        *(("store", f"brought up to {step}") for step in started.migrations),
        ("next", _next(started)),
    ]
    if settings.server.public_url:
        rows.insert(0, ("public address", settings.server.public_url))
    if settings.data.demo:
        rows.append(("demo data", "every number is made up; for your own stop this and run `ultimate-proxy up`"))
    wide = max(len(name) for name, _ in rows)
    lines = [f"Ultimate Proxy answers at {local}", *(f"  {name:<{wide}}  {value}" for name, value in rows), ""]
    return "\n".join(lines)


def _next(started: Started) -> str:
    if started.lab_url:
        return "open the sign-in link, then JupyterLab's tour"
    if started.settings.data.demo:
        return 'open the sign-in link; call the model "demo/gpt-4o-mini" with the key, no provider needed'
    return "open the sign-in link, and point a client at a base URL above with the key"


def _announce(started: Started, *, opens: bool) -> None:
    print(announcement(started), flush=True)
    if opens:
        url = started.settings.server.public_url or started.settings.local_url
        open_page(f"{url}/login?link={started.link_token}", started.settings.environment)


def _alone(arguments: argparse.Namespace, given: dict[str, Any]) -> int:
    """Be one kind of process in the foreground; SIGTERM or Ctrl-C drains it."""
    from proxy_server import sockets  # noqa: PLC0415 - a supervisor does not come here
    from proxy_server.prepare import prepare  # noqa: PLC0415
    from proxy_server.process import Child, run_child  # noqa: PLC0415
    from proxy_server.runfile import make_folders  # noqa: PLC0415

    settings, _ = settings_and_text(arguments, given)
    make_folders(settings)
    listener = None
    if arguments.role != "worker":
        listener = sockets.listen(settings.server.bind, settings.server.port)[0]
        given["server.port"] = listener.getsockname()[1]
        settings, _ = settings_and_text(arguments, given)
    prepare(settings)
    if listener is not None:
        print(f"The {arguments.role} answers at {settings.local_url}", flush=True)
    child = Child(
        settings=settings,
        role=arguments.role,
        slot=arguments.slot,
        listener=listener,
        control_address=arguments.control,
        demo_url="",
    )
    return run_child(child, life_fd=None)
