"""The verb `adaptkit serve`: an adapter as a web page and a JSON endpoint on this machine."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.adapter.options import add_adapter, add_classes, open_adapter

if TYPE_CHECKING:
    from trainers.report.decision.reading import Decision

OK = 0
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `serve` to a command's verbs."""
    parser = verbs.add_parser(
        "serve",
        help="serve an adapter as a web page and a JSON endpoint",
        description="Serve an adapter: a page where an image is dropped and class names are typed, which also says how "
        "the model was chosen and what it promises, and POST /predict for programs. There is no password; by default "
        "only this machine can connect.",
    )
    add_adapter(parser)
    add_classes(parser)
    parser.add_argument(
        "--host", type=values.text, default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)"
    )
    parser.add_argument("--port", type=values.port, default=8080, help="default: 8080")
    parser.add_argument(
        "--max-mb", type=values.number(above=0), default=10.0, help="largest upload in MB (default: 10)"
    )
    parser.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> int:
    try:
        import uvicorn

        from trainers.serving.app import make_app
        from trainers.serving.connections import SERVER_OPTIONS, check_port
    except ImportError as error:
        raise ImportError(f"serving needs {error.name}: pip install 'adaptkit-clip[serve]'") from error
    if args.max_mb <= 0:
        raise ValueError(f"--max-mb {args.max_mb:g}; expected more than 0")
    check_port(args.host, args.port)
    hosts = LOOPBACK if args.host in LOOPBACK else ("*",)
    method, beside = open_adapter(args, least=2), _beside(args.adapter)
    for problem in beside.problems:
        print(f"note: {problem}", file=sys.stderr)
    app = make_app(method, int(args.max_mb * 1e6), hosts, beside)
    if args.host not in LOOPBACK:
        print(f"adaptkit: whoever reaches {args.host} can use this server; it asks for no password", flush=True)
    where = f"[{args.host}]" if ":" in args.host else args.host
    print(f"serving {args.adapter} at http://{where}:{args.port} (Ctrl-C stops it)", flush=True)
    uvicorn.run(app, host=args.host, port=args.port, **SERVER_OPTIONS)
    return OK


def _beside(adapter: str) -> "Decision":
    """What lies beside an adapter in its folder; nothing is known of one in an archive or on the hub."""
    from trainers.report.decision.reading import read_decision
    from trainers.serving.about import NOTHING_KNOWN

    folder = Path(adapter).expanduser()
    return read_decision(folder) if folder.is_dir() else NOTHING_KNOWN
