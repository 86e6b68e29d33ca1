"""The command `headrace`.

Each error or warning is printed as one line on stderr, with command-line options in place of
Python arguments. `--debug` also prints the traceback of an error. `EXIT_CODES` explains the exit
codes.
"""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headrace.cli import completion, fit, info, pack, stats, verify
from headrace.cli.messages import as_typed
from headrace.cli.parser import EXIT_CODES, Parser, commands_of
from headrace.errors import (
    DataError,
    FieldNotFoundError,
    HeadraceError,
    MissingFileError,
    NoPermissionError,
    OptionError,
)

FAILURE, WRONG_USE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
WRONG_USE_ERRORS = (
    OptionError,
    FieldNotFoundError,
    MissingFileError,
    NoPermissionError,
    DataError,
)

EPILOG = f"""\
examples:
  headrace info cats.h5                      show what a file contains
  headrace fit cats.h5 --x image --y label   train a model on it
  headrace fit --help                        show all options of a command

{EXIT_CODES}"""

_PACKAGE = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        argv: Arguments without the program's name; None takes those of this process.

    Example:

    ```python
    main(["fit", "cats.h5", "--x", "image", "--y", "label", "--out", "model.keras"])    # 0
    ```
    """
    parser = make_parser()
    # Until the command is known, messages are rewritten for the options of the main parser.
    command: argparse.ArgumentParser = parser
    debug = False

    def show_warning(
        message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any
    ) -> None:
        del category
        text = " ".join(str(message).split())
        ours = Path(filename).is_relative_to(_PACKAGE)
        _print_message(f"warning: {as_typed(text, command) if ours else text}")

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            options = parser.parse_args(argv)
            command = commands_of(parser)[options.command]
            debug = getattr(options, "debug", False)
            options.run(options)
        except KeyboardInterrupt:
            _print_message("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # Otherwise Python reports a second BrokenPipeError when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except Exception as error:  # noqa: BLE001 every error becomes one line and an exit code
            if debug:
                traceback.print_exc()
            _print_message(f"error: {_one_line(error, command, debug)}")
            return WRONG_USE if isinstance(error, WRONG_USE_ERRORS) else FAILURE
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="headrace",
        description="Train Keras 3 models on data that is larger than memory.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"headrace {version('headrace')}"
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for module in (info, fit, pack, stats, verify, completion):
        module.add_parser(commands)
    return parser


def _one_line(error: Exception, command: argparse.ArgumentParser, debug: bool) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, HeadraceError):
        return as_typed(text, command)
    parts = [f"{type(error).__name__}: {text}" if text else type(error).__name__]
    parts += [f"({note})" for note in getattr(error, "__notes__", [])]
    if not debug:
        parts.append("(--debug shows where)")
    return " ".join(parts)


def _print_message(text: str) -> None:
    print(f"headrace: {text}", file=sys.stderr)
