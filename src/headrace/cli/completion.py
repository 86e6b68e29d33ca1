"""`headrace completion`: scripts with which shells complete commands and options.

A script contains all completions, which are taken from the parsers, so that TAB does not have to
start Python.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace.cli.parser import add_command, commands_of, options_of, summaries_of

DESCRIPTION = """\
Prints a script with which a shell completes commands, options and their
values when TAB is pressed. Print it again after an update."""

EXAMPLES = """\
examples:
  headrace completion bash > ~/.local/share/bash-completion/completions/headrace
  headrace completion zsh > "${fpath[1]}/_headrace"
  headrace completion fish > ~/.config/fish/completions/headrace.fish

The folder must exist. New shells load the script; to load it in this shell:
  source <(headrace completion bash)"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Adds `completion` to the commands."""
    parser = add_command(
        commands,
        "completion",
        run,
        help="complete commands and options with TAB",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("shell", choices=list(SHELLS), metavar="SHELL", help="bash, zsh or fish")


def run(options: argparse.Namespace) -> None:
    """Prints the script of a shell."""
    from headrace.cli import make_parser

    parser = make_parser()
    print("\n".join(SHELLS[options.shell](parser)), flush=True)


def _bash(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "# Completes headrace in bash; made by: headrace completion bash"
    yield "_headrace() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    local words="
    yield "    case $COMP_CWORD:${COMP_WORDS[1]}:$before in"
    yield f'        1:*) words="{" ".join([*commands_of(parser), *options_of(parser)])}" ;;'
    for command, one in commands_of(parser).items():
        for name, action in options_of(one).items():
            if action.choices:
                yield f'        *:{command}:{name}) words="{" ".join(action.choices)}" ;;'
        choices = " ".join(_choices_of_arguments(one))
        options = " ".join(options_of(one))
        yield f"        *:{command}:*)"
        yield f'            words="{choices}"'
        yield f'            if [[ $word == -* ]]; then words="{options}"; fi ;;'
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "# Without a match, bash completes file names."
    yield "complete -o bashdefault -o default -F _headrace headrace"


def _zsh(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "#compdef headrace"
    yield "# Completes headrace in zsh; made by: headrace completion zsh"
    yield "_headrace() {"
    yield "  if (( CURRENT == 2 )); then"
    yield "    local -a commands"
    yield "    commands=("
    for command, summary in summaries_of(parser).items():
        yield f"      {_quoted(f'{command}:{summary}')}"
    yield "    )"
    yield "    _describe command commands"
    yield f"    compadd -- {' '.join(options_of(parser))}"
    yield "    return"
    yield "  fi"
    yield "  local command=$words[2]"
    yield "  shift words; (( CURRENT-- ))"
    yield "  case $command in"
    for command, one in commands_of(parser).items():
        yield f"    {command}) _arguments \\"
        for name, action in options_of(one).items():
            yield f"      {_quoted(_zsh_option(name, action))} \\"
        choices = " ".join(_choices_of_arguments(one))
        yield f"      '*:argument:{f'({choices})' if choices else '_files'}' ;;"
    yield "  esac"
    yield "}"
    yield "# Called as a file from fpath, it completes; sourced, it registers itself."
    yield "if [[ $funcstack[1] == _headrace ]]; then"
    yield '  _headrace "$@"'
    yield "else"
    yield "  compdef _headrace headrace"
    yield "fi"


def _zsh_option(name: str, action: argparse.Action) -> str:
    repeated = "*" if isinstance(action, argparse._AppendAction) else ""
    text = re.sub(r"([\[\]:\\])", r"\\\1", _help(action))
    values = ""
    if action.choices:
        values = f":value:({' '.join(action.choices)})"
    elif action.nargs != 0:
        values = ":value:" + ("_files" if _is_file(action) else " ")
    return f"{repeated}{name}[{text}]{values}"


def _fish(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "# Completes headrace in fish; made by: headrace completion fish"
    start = "complete -c headrace -n __fish_use_subcommand"
    yield f"{start} -f"
    for name in options_of(parser):
        yield f"{start} {_fish_name(name)}"
    for command, summary in summaries_of(parser).items():
        yield f"{start} -a {command} -d {_quoted(summary)}"
    for command, one in commands_of(parser).items():
        seen = f"complete -c headrace -n '__fish_seen_subcommand_from {command}'"
        if choices := " ".join(_choices_of_arguments(one)):
            yield f"{seen} -f -a '{choices}'"
        for name, action in options_of(one).items():
            values = ""
            if action.choices:
                values = f" -x -a '{' '.join(action.choices)}'"
            elif action.nargs != 0:
                values = " -r -F" if _is_file(action) else " -x"
            yield f"{seen} {_fish_name(name)}{values} -d {_quoted(_help(action))}"


def _fish_name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


SHELLS: dict[str, Callable[[argparse.ArgumentParser], Iterator[str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}


def _choices_of_arguments(parser: argparse.ArgumentParser) -> list[str]:
    """The allowed values of positional arguments that have a list of choices."""
    places = [action for action in parser._actions if not action.option_strings]
    return [choice for action in places for choice in action.choices or ()]


def _is_file(action: argparse.Action) -> bool:
    """Whether the value of an option may be a path."""
    return action.type is Path or any(word in str(action.metavar) for word in ("FILE", "MODEL"))


def _help(action: argparse.Action) -> str:
    """The first phrase of an option's help."""
    return re.split(r"[;:(]", action.help or "")[0].strip()


def _quoted(text: str) -> str:
    """Quotes a word for a shell."""
    return "'" + text.replace("'", "'\\''") + "'"
