"""The argument parser: its errors name the command and suggest the likely option."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from headrace.errors import OptionError, did_you_mean

EXIT_CODES = """\
exit codes:
  0    success
  1    failure at run time: a read, a write, or an error in your own function
  2    wrong use: an option, a path, a field, or data that cannot be used
  130  interrupted by Ctrl-C
  141  the reader of the output pipe ended, as head does"""


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors as `OptionError`; each command has its own parser."""

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith((".", "?")) else "."
        raise OptionError(f"{message}{end} See: {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but the command's own parser reports unknown arguments."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(self._about(left[0]))
        return found, left

    def _about(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"Unexpected argument {argument!r} for {self.prog}."
        option = argument.partition("=")[0]
        hint = did_you_mean(option, options_of(self), shown=str, closeness=0.7)
        return f"{self.prog} has no option {option}.{hint}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As in argparse, but the error suggests a similar choice."""
        if action.choices is None or value in action.choices:
            return
        choices = list(action.choices)
        hint = did_you_mean(str(value), choices, shown=str)
        listed = f"Choose from: {', '.join(choices)}."
        if action.option_strings:
            raise argparse.ArgumentError(action, f"{value!r} is not a choice.{hint} {listed}")
        kind = (action.metavar or "value").lower() if isinstance(action.metavar, str) else "value"
        self.error(f"There is no {kind} {value!r}.{hint} {listed}")


def add_command(
    commands: "argparse._SubParsersAction[Any]",
    name: str,
    run: Callable[[argparse.Namespace], None],
    **texts: Any,
) -> argparse.ArgumentParser:
    """Adds a command, and returns its parser.

    Args:
        commands: The subparsers of the program.
        name: The command's name.
        run: Called with the parsed options.
        **texts: `help`, `description` and `epilog`, printed without reformatting.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, **texts, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Option string, such as "--json" -> its action."""
    return {name: one for one in parser._actions for name in one.option_strings}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, by name."""
    return dict(_subparsers(parser).choices)


def summaries_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Name of a command -> its one-line help."""
    return {one.dest: one.help or "" for one in _subparsers(parser)._choices_actions}


def _subparsers(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[Any]":
    return next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
