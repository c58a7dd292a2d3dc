"""`ultimate-proxy up`: start everything; or with --role one kind of process alone, for a cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from proxy_server import logs
from proxy_server.commands.common import add_places, overrides, settings_and_text

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
    parser.add_argument("--demo", action="store_true", help="a data folder of its own, the scripted provider ready")
    parser.add_argument(
        "--role", choices=("gateway", "control", "worker"), help="run one kind of process alone, without a supervisor"
    )
    parser.add_argument("--slot", type=int, default=0, metavar="N", help="with --role: number of this process (0)")
    parser.add_argument(
        "--control", default="", metavar="HOST:PORT", help="with --role gateway: where control listens"
    )
    parser.set_defaults(run=run)


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
        given["data.folder"] = str(settings.data_dir / "demo")
        given["data.demo"] = True
        settings, text = settings_and_text(arguments, given)
    logs.configure(settings.log, process="supervisor" if arguments.role is None else arguments.role)
    if arguments.role is not None:
        return _alone(arguments, given)
    from proxy_server.supervisor import running  # noqa: PLC0415 - a role alone does not need it

    return running(settings, text, given, announce=announce, demo_now=arguments.demo)


def announce(started: Started) -> None:
    """Print what people need first."""
    settings = started.settings
    url = settings.server.public_url or settings.local_url
    print(f"Ultimate Proxy answers at {settings.local_url}", flush=True)
    if settings.server.public_url:
        print(f"  public address  {settings.server.public_url}")
    print(f"  data folder     {settings.data_dir}")
    print(f"  configuration   {settings.config_path or 'none (built-in values and the environment)'}")
    if started.local_json is not None:
        print(f"  key             in {started.local_json}")
    for step in started.migrations:
        print(f"  store           brought up to {step}")
    print(f"  sign in         {url}/login?link={started.link_token}  (once, within 30 minutes)", flush=True)


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
