"""Rewrites messages for the command line: `--memory 2GB`, not `memory="2GB"`."""

import argparse
import re

from headrace.cli.parser import options_of

_CALL = r"[\w.]+\((?P<inside>[^()]*)\)"
_VALUE = r"'[^']*'|\"[^\"]*\"|[\w.+-]*\w"
_ARGUMENT = rf"(?<![\w.'\"/=-])(?P<name>[a-z_]+)=(?P<value>{_VALUE})?(?![\w='\"])"
_QUOTED = r"(?<!\w)'[^']*'|(?<!\w)\"[^\"]*\""
_PATTERN = re.compile(f"{_QUOTED}|{_CALL}|{_ARGUMENT}")

_OTHER_NAMES = {"by": "split_by"}
"""Python argument -> option, where the names differ."""


def as_typed(text: str, parser: argparse.ArgumentParser) -> str:
    """Replaces Python arguments in a message by a command's options.

    Text in quotes, such as file names, is not changed. Neither are arguments that the command has
    no option for, nor calls with arguments. A call without arguments, such as `map()`, is replaced
    if the command has an option of that name, such as `--map`.

    Example:

    ```python
    from headrace.cli import make_parser
    from headrace.cli.parser import commands_of

    fit = commands_of(make_parser())["fit"]
    as_typed("memory=1000 is enough. Say x= as well.", fit)
    # "--memory 1000 is enough. Say --x as well."
    ```
    """
    options = {action.dest: action for action in options_of(parser).values()}

    def replaced(match: re.Match[str]) -> str:
        whole = match[0]
        name = whole[:-2] if match["inside"] == "" else match["name"]
        action = options.get(_OTHER_NAMES.get(name, name)) if name else None
        if action is None:
            return whole
        return _spelled(action, match["value"])

    return _PATTERN.sub(replaced, text)


def _spelled(action: argparse.Action, value: str | None) -> str:
    """An option with its value, as a user would type it."""
    option = action.option_strings[-1]
    if value is None:
        return option
    if value == "None" or (action.nargs == 0 and value == "False"):
        return f"no {option}"
    if action.nargs == 0:
        return option
    if action.choices is not None:
        value = {"True": "yes", "False": "no"}.get(value, value)
    return f"{option} {value.strip(chr(39) + chr(34))}"
