"""Options for columns, rows and resources, and opening of the data set they name."""

import argparse
import json
from typing import Any

import headrace as hr
from headrace.dataset import Dataset
from headrace.errors import OptionError, ShapeError, TypeNotSupportedError
from headrace.formats import Location, open_files


def add_fields(group: "argparse._ArgumentGroup", *, x: str, y: str) -> None:
    """Adds the options that choose fields and rows.

    Args:
        group: The parser or group to add them to.
        x: Help for `--x`.
        y: Help for `--y`.
    """
    group.add_argument("--x", action="append", metavar="FIELD", help=x)
    group.add_argument("--y", action="append", metavar="FIELD", help=y)
    group.add_argument(
        "--sample-weight", metavar="FIELD", help="field with the weight of each sample in the loss"
    )
    group.add_argument("--start", type=int, default=0, metavar="ROW", help="first row (default: 0)")
    group.add_argument("--end", type=int, metavar="ROW", help="row to stop before (default: all)")
    add_format_options(group)


def add_resources(group: "argparse._ActionsContainer", besides: str = "") -> None:
    """Adds the options for memory and threads.

    Args:
        group: The parser or group to add them to.
        besides: Text that is inserted into the help for `--memory`.
    """
    group.add_argument(
        "--memory",
        metavar="SIZE",
        help=f"budget for samples in memory, such as 256MB{besides} "
        "(default: a quarter of the memory that this process may use, 2 GiB at most)",
    )
    group.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="threads that read and decode (default: as many as the CPUs that this process may "
        "use)",
    )


def add_format_options(group: "argparse._ActionsContainer") -> None:
    """Adds `--option`, which passes an option to the file's format."""
    group.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the file's format, as for hr.open, such as allow_external=true",
    )


def format_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of a format, as `hr.open` takes them.

    Values that are JSON (numbers, true, false, null) are parsed; others are text.

    Raises:
        OptionError: If an option does not have the form NAME=VALUE.
    """
    found = {}
    for given in options.option or []:
        name, equals, text = given.partition("=")
        if not name or not equals:
            raise OptionError(f"Expected --option NAME=VALUE. Received: {given}")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def fields_of(options: argparse.Namespace, location: Location) -> dict[str, Any]:
    """The columns that options name, as arguments of `hr.open`.

    Args:
        options: A command line parsed with the options of `add_fields`.
        location: The first file, since a name of one of its columns may contain a comma.
    """
    return {
        "x": _names(options.x, location),
        "y": _names(options.y, location),
        "sample_weight": options.sample_weight,
    }


def open_samples(options: argparse.Namespace, paths: Any, fit: bool = False) -> Dataset:
    """Opens the data set that options name.

    Args:
        options: A command line parsed with the options of `add_fields`.
        paths: As `hr.open` takes them.
        fit: Whether it must be clear which columns are x. Otherwise all columns are opened if
            the options name none.
    """
    more = {"start": options.start, "end": options.end, **format_options(options)}
    first = open_files(paths, format_options(options)).first
    fields = fields_of(options, first)
    if any(fields.values()) or fit or first.note().x is not None:
        return hr.open(paths, **more, **fields)
    try:
        return hr.open(paths, ..., **more)
    except (ShapeError, TypeNotSupportedError) as error:
        # Files often hold more than the samples, such as a version number or a list of names.
        word = first.column_word
        said = (
            f"All {word}s were opened, since --x was not given. Name the {word}s to use, with --x."
        )
        raise type(error)(f"{error} {said}") from error


def split_names(given: list[str] | None, location: Location) -> list[str]:
    """Names of columns, from options such as `["a,b", "c"]`.

    A text that is the name of a column is not split at its commas.
    """
    there = set(location.names()) if any("," in text for text in given or []) else set()
    return [
        name.strip()
        for text in given or []
        for name in ([text] if text in there else text.split(","))
        if name.strip()
    ]


def _names(given: list[str] | None, location: Location) -> str | list[str] | None:
    """Names of columns as `hr.open` takes them."""
    names = split_names(given, location)
    if len(names) > 1:
        return names
    return names[0] if names else None


def positive(text: str) -> int:
    """Parses an integer of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, received {number}")
    return number


def seed_number(text: str) -> int:
    """Parses a seed."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"expected 0 to 2**32 - 1, received {number}")
    return number
