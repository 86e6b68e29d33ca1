"""Advice on rows that are sorted by class, found by reading a small part of a column."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import BadSampleError, ChangedFileError, MemoryBudgetError, ReadError
from headrace.formats.advice import Advice
from headrace.formats.mixing import Setting, mixes_well, mixing, view_of
from headrace.formats.roles import Roles
from headrace.loading.bad_rows import check_rows
from headrace.resources import format_bytes
from headrace.sources import Source
from headrace.spec import Field

WHOLE_BYTES = 4_000_000
"""A column of labels up to this size is read as a whole: milliseconds."""

PLACES = 256
"""How many runs of rows are read from a longer column."""

NEIGHBOURS = 1024
"""The most rows of a run."""

DECODED_BYTES = 16_000_000
DECODED_BLOCKS = 512
"""The most that is decoded of a column: a tenth of a second."""

LONG_RUNS = 10
"""Runs of equal values so many times as long as in random order are not chance."""

FEWEST_CHANGES = 30
"""With fewer changes of the value expected in random order, nothing can be concluded."""

MOST_CLASSES = 10_000
"""A column of more different values is hardly a class."""

_MOST_COLUMNS = 8
"""Columns that are looked at where it is not clear which one is y."""


def is_column_of_classes(field: Field) -> bool:
    """Whether a field has one integer a row."""
    return field.dtype.kind in "biu" and field.shape in ((), (1,))


def sorted_rows(
    columns: Mapping[str, Source],
    roles: Roles | None,
    x: str,
    main: Source | None,
    setting: Setting,
    call: Callable[[Roles], str],
) -> Iterator[Advice]:
    """Advice on columns whose rows come in order of their value.

    Args:
        columns: A source for each column of one integer a row; a few are looked at.
        roles: Which columns are x and y; None if each column that is looked at may be y.
        x: The largest column, which shuffling has to mix.
        main: Reads x; None if how `shuffle=True` mixes it is not to be worked out.
        setting: The memory and batch size that the advice is for.
        call: The Python that reads columns with these roles.
    """
    chosen = {n: s for n, s in columns.items() if roles and n == roles.y} or columns
    for name, source in list(chosen.items())[:_MOST_COLUMNS]:
        try:
            found = _runs(source, name)
        except ChangedFileError:
            raise
        except BadSampleError:
            continue  # a single row without a value, or one that cannot be read
        except ReadError as error:
            yield Advice("damaged", (name,), str(error))
            continue
        if found is None:
            continue
        named = roles or Roles(x, name if name != x else None)
        text = (
            f"Its rows come in order of their value: {found}. "
            f"{_evened_out(main, x, setting)} A split without a seed, or by start= and end=, "
            "puts other values into training than into validation: draw the rows at random."
        )
        yield Advice("sorted-rows", (name,), text, "python", f"{call(named)}.split(0.8, seed=0)")


def _evened_out(main: Source | None, name: str, setting: Setting) -> str:
    """A sentence on how far `shuffle=True` undoes the sorting."""
    if main is None:
        return "shuffle=True evens that out."
    try:
        shuffle = mixing(main, name, setting)
    except MemoryBudgetError:
        return f"shuffle=True needs more than {format_bytes(setting.memory)} to even that out."
    if shuffle is None:
        return "shuffle=True evens that out."
    if not mixes_well(shuffle, setting):
        return f"shuffle=True evens that out in part ({shuffle}): see the advice on large chunks."
    return f"shuffle=True evens that out ({shuffle})."


def _runs(source: Source, name: str) -> str | None:
    """A phrase on how long runs of equal values are; None if rows are in random order."""
    places = _places(source, name)
    if places is None:
        return None
    arrays, stats = view_of(source, [name]).read_any(places.reshape(-1), [name])
    check_rows(stats)
    values = arrays[name]
    rows: npt.NDArray[Any] = values.reshape(places.shape)
    different, counts = np.unique(rows, return_counts=True)
    pairs = rows[:, 1:] != rows[:, :-1]
    changes = float(pairs.mean()) if pairs.size else 0.0
    by_chance = 1 - float(((counts / rows.size) ** 2).sum())
    if by_chance * pairs.size < FEWEST_CHANGES or changes * LONG_RUNS > by_chance:
        return None
    if len(different) > MOST_CLASSES:
        return None
    if rows.size == source.length:
        return (
            f"{len(different):,} values, in runs of about {rows.size / (pairs.sum() + 1):,.0f} rows"
        )
    length = f"about {1 / changes:,.0f}" if changes else f"more than {places.shape[-1]:,}"
    return f"{len(different):,} values were seen, in runs of {length} rows"


def _places(source: Source, name: str) -> npt.NDArray[Any] | None:
    """Rows to read, shape `(runs, rows)`, each run of neighbours; None if that costs too much."""
    length = source.length
    row_bytes = next(field.nbytes for field in source.fields if field.name == name)
    places, neighbours, step = PLACES, NEIGHBOURS, 1
    if not source.addressable([name]):
        height = int(np.diff(source.block_offsets([name])).max())
        blocks = min(DECODED_BLOCKS, DECODED_BYTES // (height * row_bytes))
        if blocks * height < length:
            # One block at each place, or two of single rows.
            places, neighbours, step = min(PLACES, blocks), max(2, min(NEIGHBOURS, height)), height
    if places < 2:
        return None
    if neighbours == NEIGHBOURS and step == 1 and length * row_bytes <= WHOLE_BYTES:
        return np.arange(length).reshape(1, -1)
    apart = (length - neighbours) // (places - 1)
    starts = np.arange(places) * apart // step * step
    return np.unique(starts)[:, None] + np.arange(neighbours)
