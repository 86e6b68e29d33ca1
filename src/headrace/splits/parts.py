"""Splits rows at random, by class, by key, or by the names of parts."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from headrace.errors import DataError, OptionError, check_integer
from headrace.loading import View
from headrace.order import Permutations, Ranks, shares_of_classes, stream_key
from headrace.resources import check_memory
from headrace.spec import Indices
from headrace.splits.classes import MOST_CLASSES, Classes
from headrace.splits.grouping import Grouping
from headrace.splits.keys import about_uneven_parts, parts_of_keys
from headrace.splits.sizes import cumulated, flat, split_edges
from headrace.splits.times import split_at

MOST_NAMES = 1000
"""The most parts that a field may name; a field with more values has keys."""

_PIECE = 1 << 15
"""Rows that are processed at once, whose arrays fit the processor's cache."""


def split(
    view: View,
    sizes: Sequence[Any],
    *,
    seed: int | None,
    stratify: Any,
    by: Any,
    at: Any = None,
    on: Any = None,
) -> list[View] | dict[Any, View]:
    """Disjoint parts that together contain every row; see `Dataset.split`."""
    check_integer("seed", seed, 0, or_none=True)
    if at is not None or on is not None:
        if at is None or on is None:
            raise OptionError("Expected at= and on= together: split(at='2024-01-01', on='date').")
        if sizes or seed is not None or stratify is not None or by is not None:
            raise OptionError("Expected at= and on= without sizes, seed=, stratify= and by=.")
        return split_at(view, on, at)
    if stratify is not None and by is not None:
        raise OptionError("Expected stratify= or by=, not both: they decide on the same rows.")
    sizes = flat(sizes)
    if stratify is None and by is None and seed is None:
        return [view.part(a, b) for a, b in itertools.pairwise(split_edges(sizes, len(view)))]
    check_memory(
        len(view), f"Choosing from {len(view)} rows", "Split without seed=, or fewer rows."
    )
    if stratify is not None:
        return stratified(view, stratify, sizes, seed)
    if by is None:
        return view.random_parts(split_edges(sizes, len(view)), int(seed or 0))
    if not all(isinstance(size, str) for size in sizes):
        return by_key(view, by, sizes, seed or 0)
    if seed is not None:
        raise OptionError("seed= has no effect where by= names the parts. Leave it out.")
    return named(view, by, sizes) if sizes else by_name(view, by)


def stratified(view: View, given: Any, sizes: Sequence[Any], seed: int | None) -> list[View]:
    """Parts of given sizes with the same share of each class."""
    bounds = split_edges(sizes, len(view))
    column = Grouping(view, given, "stratify=")
    classes = Classes(
        column.labels,
        column.name,
        MOST_CLASSES,
        "To keep rows with the same value together, split by= it; to stratify by a number that "
        "varies freely, give an array of classes of it, such as np.digitize() makes.",
    )
    counts = shares_of_classes(classes.counts, np.diff(bounds))
    return view.divide(_drawn(classes, counts, seed), len(bounds) - 1)


def _drawn(classes: Classes, counts: Indices, seed: int | None) -> Iterator[Indices]:
    """The part of each row, by its position in a permutation of its class, or in row order."""
    places = None
    if seed is not None:
        places = Permutations(classes.counts, stream_key(seed, "stratified split"))
    ends = np.cumsum(counts, axis=1)[:, :-1]
    ranks = Ranks(len(classes))
    for run in classes.codes():
        for start in range(0, len(run), _PIECE):
            codes = run[start : start + _PIECE]
            place = ranks(codes) if places is None else places(codes, ranks(codes))
            yield (place[:, None] >= ends[codes]).sum(axis=1)


def by_key(view: View, given: Any, sizes: Sequence[Any], seed: int) -> list[View]:
    """Parts of about the given shares that have no key in common, by the hash of the key."""
    if any(isinstance(size, (int, np.integer)) for size in sizes):
        raise OptionError(
            f"Expected shares between 0 and 1 beside by=. Received: {list(sizes)}. A key's hash "
            "decides on its side, whatever other keys there are, so that parts have about their "
            "shares and no exact number of rows. If the field holds the numbers of the parts, give "
            "none: split(by=...) returns a dict of them."
        )
    ends = cumulated(sizes)
    column = Grouping(view, given, "by=")

    def codes() -> Iterator[Indices]:
        kinds = set()
        for run in column.one_each():
            kinds.add(run.dtype.kind in "SU")
            if len(kinds) > 1:
                raise DataError(
                    f"{column.name} holds text in some files, and numbers in others, so that a key "
                    "would be two."
                )
            for start in range(0, len(run), _PIECE):
                yield parts_of_keys(run[start : start + _PIECE], ends, seed)

    parts = view.divide(codes(), len(ends))
    uneven = about_uneven_parts([len(part) for part in parts], ends, column)
    if uneven is not None:
        warnings.warn(uneven, stacklevel=4)
    return parts


def by_name(view: View, given: Any) -> dict[Any, View]:
    """The parts that the values of a column name, in the order of their names."""
    column = Grouping(view, given, "by=")
    names = Classes(
        column.one_each,
        column.name,
        MOST_NAMES,
        "To divide rows by the values of a key, give shares: split(0.8, by=...).",
    )
    if any(isinstance(name, float) for name in names.values):
        raise OptionError(
            f"{column.name} holds floats. Expected text or integers as names of parts; to divide "
            "rows by the values of a key, give shares: split(0.8, by=...)."
        )
    return dict(zip(names.values, view.divide(names.codes(), len(names)), strict=True))


def named(view: View, given: Any, wanted: Sequence[str]) -> list[View]:
    """The parts with these names.

    Raises:
        OptionError: If the column has other values, or lacks one of the names.
    """
    parts = by_name(view, given)
    if len(set(wanted)) != len(wanted) or set(wanted) != parts.keys():
        listed = ", ".join(f"{name!r} ({len(part):,})" for name, part in list(parts.items())[:20])
        more = f", and {len(parts) - 20} more" if len(parts) > 20 else ""
        raise OptionError(
            f"Expected the names of all parts, each once. Received: {list(wanted)}. The rows are "
            f"of: {listed}{more}. split(by=...) without names returns a dict of all parts."
        )
    return [parts[name] for name in wanted]
