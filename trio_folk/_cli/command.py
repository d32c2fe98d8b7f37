"""The words of the command line: what is allowed, what it means, and what ``--help`` says.

Knows argparse. Does not know pools; each command is imported when it is asked for.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence

from .._version import __version__
from .admin_words import add_admin

__all__ = ["parse", "run"]

MAP = """\
Run a function over items, in a pool of supervised worker processes.

Each item is one word of the command line or, without any, one line of standard
input, read as it comes. Each result is one line of JSON on standard output:

  {"item": "a.txt", "result": 42}
  {"item": "b.txt", "error": {"type": "ValueError", "message": "...", "traceback": "..."}}
"""
MAP_EXAMPLES = """\
examples:
  trio-folk map os.path:getsize *.py
  find . -name '*.py' | trio-folk map os.path:getsize --ordered
  trio-folk map mymodule:parse --timeout 10 --retries 2 < urls.txt
  trio-folk map myapp.jobs:worker.shrink --json '{"path": "cat.ppm", "width": 64}'
  trio-folk map mymodule:parse --watch a.html b.html

exit status: 0 every item has a result; 1 some failed; 2 wrong usage, or the pool
could not start; 130 after Ctrl-C, which lets running items end within 5 seconds.
"""
DOCTOR = """\
Say what this machine supports, what is missing, what that means and what to do.

exit status: 0 everything required is there; 1 something is missing.
"""

BACKENDS = """\
List the brokered backends of this user: which run, and how they are.

A backend is stale when its process is dead and its files are not; --clean removes
them. It is silent when it lives and does not answer within half a second.

exit status: 0 all that are there answered, or start; 1 some are stale or silent.
"""

SERVE = """\
Serve a web application: WSGI, ASGI, a worker with http.handle, or a script of PHP.

Its requests run in a pool of supervised worker processes; a crash of one is a 502
for its own requests and nobody else's.
"""
SERVE_EXAMPLES = """\
examples:
  trio-folk serve mysite:app
  trio-folk serve 'mysite:create_app()' --bind 0.0.0.0:80 --bind unix:/run/site.sock --workers 8
  trio-folk serve mysite:app --watch src/ --access-log
  trio-folk serve public/worker.php

signals: SIGTERM or SIGINT stops gracefully, a second one at once; SIGHUP brings in new code.
Under systemd it takes the sockets of its unit, and says when it is ready.

exit status: 0 it was stopped; 2 wrong usage, or it could not begin.
"""


def run(argv: Sequence[str] | None) -> int:
    """Parse, then run the command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _parsers()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    options = parse(parser, commands, words)
    if options.command == "doctor":
        from .doctor import doctor

        return doctor(json_wanted=options.json)
    if options.command == "backends":
        from .backends import backends

        return backends(options.directory, json_wanted=options.json, clean=options.clean)
    if options.command == "serve":
        from .serve import ServeSettings, run_serve

        return run_serve(ServeSettings.of(options))
    if options.command == "admin":
        from .admin import run_admin

        return run_admin(options)
    if options.command == "top":
        from .top import run_top

        return run_top(options)
    from .map import Settings, run_map

    return run_map(Settings.of(options))


def parse(
    parser: argparse.ArgumentParser, commands: dict[str, argparse.ArgumentParser], words: list[str]
) -> argparse.Namespace:
    """The options; exits with 2 where they make no sense. Options may stand before, among and after items."""
    if words[0] not in commands:
        return parser.parse_args(words)
    # argparse loses items that follow an option, and 3.11 and 3.13 disagree about "--": so by hand
    end = words.index("--") if "--" in words else len(words)
    options = commands[words[0]].parse_intermixed_args(words[1:end])
    options.command = words[0]
    rest = words[end + 1 :]
    if options.command == "map":
        if options.target is None and rest:
            options.target = rest.pop(0)
        options.items += rest
        if options.target is None:
            commands["map"].error("TARGET is missing, e.g. os.path:getsize")
    return options


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="trio-folk",
        description="Supervised worker processes for trio, from the command line.",
        epilog="`trio-folk COMMAND --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"trio-folk {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    as_written = argparse.RawDescriptionHelpFormatter
    mapper = commands.add_parser(
        "map",
        help="run a function over items or lines",
        description=MAP,
        epilog=MAP_EXAMPLES,
        formatter_class=as_written,
        usage="trio-folk map [options] TARGET [ITEM ...]",
    )
    _add_map(mapper)
    doctor = commands.add_parser(
        "doctor",
        help="say what this machine supports",
        description=DOCTOR,
        formatter_class=as_written,
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")
    backends = commands.add_parser(
        "backends",
        help="list running backends",
        description=BACKENDS,
        formatter_class=as_written,
    )
    backends.add_argument("--json", action="store_true", help="as JSON")
    backends.add_argument("--clean", action="store_true", help="remove what dead ones left behind")
    backends.add_argument("--directory", metavar="DIR", help="where they are, if not where they usually are")
    server = commands.add_parser(
        "serve",
        help="serve a web application",
        description=SERVE,
        epilog=SERVE_EXAMPLES,
        formatter_class=as_written,
    )
    _add_serve(server)
    return parser, {"map": mapper, "doctor": doctor, "backends": backends, "serve": server} | add_admin(
        commands
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    whole, seconds, size = _number(int, 1), _number(float, 0, above=True), _number(float, 0, above=True)
    add("target", metavar="TARGET", help="module:app, module:factory() or the path of a .php script")
    add(
        "--bind",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="host:port, [v6]:port or unix:path (127.0.0.1:8000); may be given again",
    )
    add(
        "--interface", choices=["auto", "wsgi", "asgi"], default="auto", help="what the application is (auto)"
    )
    add("--workers", type=whole, metavar="N", help="worker processes; as many as this process may use CPUs")
    add("--concurrency", type=whole, metavar="N", help="requests at once in a worker (ASGI 16, WSGI 1)")
    add("--fork", action="store_true", help="fork workers from one process that has imported the application")
    add("--timeout", type=seconds, default=60.0, metavar="S", help="seconds that a request may run: 504 (60)")
    add(
        "--queue-timeout",
        type=_number(float, 0),
        default=10.0,
        metavar="S",
        help="seconds that it may wait for a worker: 503 (10)",
    )
    add("--max-queue", type=whole, default=math.inf, metavar="N", help="requests that may wait: 503 beyond")
    add("--max-body", type=size, default=1024.0, metavar="MB", help="longest request body: 413 (1024)")
    add("--boot-timeout", type=seconds, default=30.0, metavar="S", help="seconds for a worker's start (30)")
    add("--drain-timeout", type=seconds, default=30.0, metavar="S", help="seconds to finish what runs (30)")
    add("--max-jobs", type=whole, default=math.inf, metavar="N", help="replace a worker after N requests")
    add("--memory", type=size, default=math.inf, metavar="MB", help="replace a worker that grew beyond this")
    add(
        "--watch", action="append", default=[], metavar="PATH", help="reload when this file or folder changes"
    )
    add("--root-path", default="", metavar="PATH", help="where a proxy has mounted the application")
    add("--cert", metavar="FILE", help="certificate, for TLS")
    add("--key", metavar="FILE", help="and its key")
    add("--access-log", action="store_true", help="a line on standard output for each request")
    add("--no-probes", action="store_true", help="no /healthz and /readyz of its own")


def _add_map(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    whole, seconds = _number(int, 1), _number(float, 0, above=True)
    add(
        "target", nargs="?", metavar="TARGET", help="module:function, module.function or module:worker.method"
    )
    add("items", nargs="*", metavar="ITEM", help="given to the function as its one argument, a str")
    add(
        "--json", action="store_true", help="each item is JSON, and is given to the function as what it means"
    )
    add("--workers", type=whole, metavar="N", help="worker processes; as many as this process may use CPUs")
    add("--timeout", type=seconds, default=math.inf, metavar="S", help="seconds that an item may take")
    add("--boot-timeout", type=seconds, default=30.0, metavar="S", help="seconds for a worker's start (30)")
    add(
        "--retries",
        type=_number(int, 0),
        default=0,
        metavar="N",
        help="further attempts at a failed item (0)",
    )
    add(
        "--max-jobs", type=whole, default=math.inf, metavar="N", help="items after which a worker is replaced"
    )
    add(
        "--memory",
        type=seconds,
        default=math.inf,
        metavar="MB",
        help="replace a worker that grew beyond this",
    )
    add("--watch", action="store_true", help="again whenever the target's module is saved, until Ctrl-C")
    add(
        "--watch-path",
        action="append",
        default=[],
        metavar="PATH",
        help="also when this file or folder changes; may be given again",
    )
    add("--ordered", action="store_true", help="results in the order of the items, not as they come")
    add("--traceback", action="store_true", help="failures on standard error with their whole traceback")
    add("--quiet", action="store_true", help="nothing on standard error but what ends the run")


def _number(kind: type[int] | type[float], least: float, *, above: bool = False) -> Callable[[str], float]:
    def convert(text: str) -> float:
        wanted = f"{'a whole number' if kind is int else 'a number'} {'above' if above else 'from'} {least:g}"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
        if not value >= least or (above and value == least):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return convert
