"""`headrace verify`: checks packed files against their checksums."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import headrace as hr
from headrace.cli.inputs import add_resources
from headrace.cli.parser import EXIT_CODES, add_command
from headrace.errors import ReadError

DESCRIPTION = """\
Reads all data at PATH, and reports what is damaged. Data written by
headrace pack are compared with their stored checksums; in any other HDF5 file,
each value is read and decoded."""

EPILOG = f"""\
examples:
  headrace verify fast.h5
  headrace verify shards --json
  headrace verify fast.h5 --quiet && echo whole

{EXIT_CODES}

The exit code for damaged data is 1."""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `verify` to the commands."""
    parser = add_command(
        commands,
        "verify",
        run,
        help="check that files are undamaged",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a folder of shards, or a file")
    add_resources(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--quiet", action="store_true", help="print nothing; the exit code tells the result"
    )
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")


def run(options: argparse.Namespace) -> None:
    """Verifies the files, and prints the result.

    Raises:
        ReadError: After printing, if data are damaged.
    """
    found = hr.verify(
        options.path,
        memory=options.memory,
        workers=options.workers,
        progress=False if options.quiet else None,
    )
    if options.json:
        print(json.dumps({"ok": found.ok, **asdict(found)}, indent=2), flush=True)
    elif not options.quiet:
        print(found, flush=True)
    if not found.ok:
        more = f" ({len(found.problems) - 1} more)" * (len(found.problems) > 1)
        raise ReadError(f"{found.path} is broken: {found.problems[0]}{more}")
