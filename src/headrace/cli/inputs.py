"""The samples that a command works on: options that name them, and the data set they make."""

import argparse
from typing import Any

import headrace as hr
from headrace.dataset import Dataset
from headrace.errors import FieldNotFoundError, ShapeError, TypeNotSupportedError


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


def fields_of(options: argparse.Namespace) -> dict[str, Any]:
    """The fields that options name, as `hr.open` takes them."""
    return {
        "x": _names(options.x),
        "y": _names(options.y),
        "sample_weight": options.sample_weight,
    }


def open_samples(options: argparse.Namespace, paths: Any) -> Dataset:
    """The data set that options name; all fields, if they name none.

    Args:
        options: With what `add_fields` added.
        paths: As `hr.open` takes them.
    """
    rows = {"start": options.start, "end": options.end}
    fields = fields_of(options)
    if any(fields.values()):
        return hr.open(paths, **rows, **fields)
    try:
        # What the data themselves say.
        return hr.open(paths, **rows)
    except FieldNotFoundError:
        pass
    try:
        return hr.open(paths, ..., **rows)
    except (ShapeError, TypeNotSupportedError) as error:
        # Such as a version number, or names, beside the samples.
        more = "All fields were taken, since none is named: name those that you want, with --x."
        raise type(error)(f"{error} {more}") from error


def split_names(given: list[str] | None) -> list[str]:
    """Field names, from options such as `["a,b", "c"]`."""
    return [name.strip() for text in given or [] for name in text.split(",") if name.strip()]


def _names(given: list[str] | None) -> str | list[str] | None:
    """Field names as `from_hdf5` takes them."""
    names = split_names(given)
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
