"""The argument parser: its errors name the command and suggest the likely option."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from headrace.errors import OptionError, did_you_mean

EXIT_CODES = """\
exit codes:
  0    all went well
  1    something failed at work: a read, a write, a function of yours
  2    wrong use: an option, a path, a field, or data that cannot be used
  130  interrupted by Ctrl-C
  141  the reader of a pipe left, as head does"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, and shown like all others; commands have one each."""

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith((".", "?")) else "."
        raise OptionError(f"{message}{end} See: {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; but what is left over is an error of the command that it was given to."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(self._about(left[0]))
        return found, left

    def _about(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"{argument!r} is one argument too many for {self.prog}."
        option = argument.partition("=")[0]
        hint = did_you_mean(option, options_of(self), shown=str, closeness=0.7)
        return f"{self.prog} has no option {option}.{hint}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As in argparse, with what was probably meant."""
        if action.choices is None or value in action.choices:
            return
        choices = list(action.choices)
        hint = did_you_mean(str(value), choices, shown=str)
        listed = f"Choose from: {', '.join(choices)}."
        if action.option_strings:
            raise argparse.ArgumentError(action, f"{value!r} is no choice.{hint} {listed}")
        kind = (action.metavar or "value").lower() if isinstance(action.metavar, str) else "value"
        self.error(f"There is no {kind} {value!r}.{hint} {listed}")


def add_command(
    commands: "argparse._SubParsersAction[Any]",
    name: str,
    run: Callable[[argparse.Namespace], None],
    **texts: Any,
) -> argparse.ArgumentParser:
    """Adds a command, and gives its parser.

    Args:
        commands: Those of the program.
        name: What the user types.
        run: Called with the parsed options.
        **texts: `help`, `description` and `epilog`, shown as they are.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, **texts, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options of a parser, by each of their names."""
    return {name: one for one in parser._actions for name in one.option_strings}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, by name."""
    return dict(_subparsers(parser).choices)


def summaries_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What the commands do, in a line each, by name."""
    return {one.dest: one.help or "" for one in _subparsers(parser)._choices_actions}


def _subparsers(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[Any]":
    return next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
