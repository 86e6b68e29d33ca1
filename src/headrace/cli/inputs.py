"""Options that name columns, rows and resources, and the data set that they open."""

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
        group: Where they are shown.
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
    """Adds the options that say how much memory and how many threads are used.

    Args:
        group: Where they are shown.
        besides: What else the memory is for.
    """
    group.add_argument(
        "--memory",
        metavar="SIZE",
        help=f"for samples in memory, such as 256MB{besides} "
        "(default: a quarter of what this process may use, 2 GiB at most)",
    )
    group.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="threads that read and decode (default: the CPUs that this process may use)",
    )


def add_format_options(group: "argparse._ActionsContainer") -> None:
    """Adds the option that passes options of a format on."""
    group.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the file's format, as hr.open takes it, such as allow_external=true",
    )


def format_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of a format, as `hr.open` takes them: numbers, true, false, null, or text.

    Raises:
        OptionError: If one is no NAME=VALUE.
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
    """The columns that options name, as `hr.open` takes them.

    Args:
        options: With what `add_fields` added.
        location: The first file: a name of one of its columns may have a comma in it.
    """
    return {
        "x": _names(options.x, location),
        "y": _names(options.y, location),
        "sample_weight": options.sample_weight,
    }


def open_samples(options: argparse.Namespace, paths: Any, fit: bool = False) -> Dataset:
    """The data set that options name.

    Args:
        options: With what `add_fields` and `add_format_options` added.
        paths: As `hr.open` takes them.
        fit: Whether x has to be clear; else all columns are taken where none is named.
    """
    more = {"start": options.start, "end": options.end, **format_options(options)}
    first = open_files(paths, format_options(options)).first
    fields = fields_of(options, first)
    if any(fields.values()) or fit or first.note().x is not None:
        return hr.open(paths, **more, **fields)
    try:
        return hr.open(paths, ..., **more)
    except (ShapeError, TypeNotSupportedError) as error:
        # Such as a version number, or names, beside the samples.
        word = first.column_word
        said = f"All {word}s were taken, since none is named: name those that you want, with --x."
        raise type(error)(f"{error} {said}") from error


def split_names(given: list[str] | None, location: Location) -> list[str]:
    """Names of columns, from options such as `["a,b", "c"]`.

    A text that is the name of a column as it is stays whole, commas and all.
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
    """An option's whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, received {number}")
    return number


def seed_number(text: str) -> int:
    """An option's seed."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"expected 0 to 2**32 - 1, received {number}")
    return number
