"""The command `penstock`.

Exit codes: 0 when all went well, 1 when something failed at work, 2 for wrong use (an option,
a path, a field or data that cannot be used), 130 after Ctrl-C, 141 when the reader of a pipe
left, as `head` does. An error is one line on stderr; `--debug` shows where it was raised.
"""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from penstock.cli import fit, info, pack, stats, verify
from penstock.errors import (
    DataError,
    FieldNotFoundError,
    MissingFileError,
    NoPermissionError,
    OptionError,
    PenstockError,
)

FAILURE, WRONG_USE, INTERRUPTED, READER_LEFT = 1, 2, 130, 141
WRONG_USE_ERRORS = (
    OptionError,
    FieldNotFoundError,
    MissingFileError,
    NoPermissionError,
    DataError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and gives its exit code.

    Args:
        argv: Arguments, without the program's name; by default those of this process.

    Example:

    ```python
    main(["fit", "cats.h5", "--x", "image", "--y", "label", "--out", "model.keras"])    # 0
    ```
    """
    debug = False
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            options = _parser().parse_args(argv)
            debug = options.debug
            options.run(options)
        except KeyboardInterrupt:
            _say("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # So that Python finds nothing to complain about when it flushes stdout at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return READER_LEFT
        except Exception as error:  # noqa: BLE001 a command ends with a line and a code
            if debug:
                traceback.print_exc()
            _say(f"error: {_one_line(error, debug)}")
            return WRONG_USE if isinstance(error, WRONG_USE_ERRORS) else FAILURE
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, and shown like all others."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message} (see: {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="penstock",
        description="Train Keras 3 models on data that is larger than memory.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"penstock {version('penstock')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    info.add_parser(commands)
    fit.add_parser(commands)
    pack.add_parser(commands)
    stats.add_parser(commands)
    verify.add_parser(commands)
    return parser


def _one_line(error: Exception, debug: bool) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, PenstockError):
        return text
    parts = [f"{type(error).__name__}: {text}" if text else type(error).__name__]
    parts += [f"({note})" for note in getattr(error, "__notes__", [])]
    if not debug:
        parts.append("(--debug shows where)")
    return " ".join(parts)


def _say(text: str) -> None:
    print(f"penstock: {text}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {' '.join(str(message).split())}")
