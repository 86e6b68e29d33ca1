"""What the data themselves may mislead with: rows sorted by class, rows that nobody wrote."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import (
    ChangedFileError,
    MemoryBudgetError,
    ReadError,
    TypeNotSupportedError,
)
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info import unwritten
from headrace.formats.hdf5.info.roles import Roles, fields_of, numbers, read_together
from headrace.formats.hdf5.info.storing import NEARLY
from headrace.formats.mixing import Setting, mixes_well, mixing, view_of
from headrace.resources import format_bytes
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.survey import Found, Survey

WHOLE_BYTES = 4_000_000
"""A column of labels up to this size is read as a whole: milliseconds."""

PLACES = 256
"""Places in a longer column that are looked at."""

NEIGHBOURS = 1024
"""Neighbouring rows at each place, at most."""

DECODED_BYTES = 16_000_000
DECODED_CHUNKS = 512
"""What is decoded of a column at most: a tenth of a second."""

LONG_RUNS = 10
"""Equal neighbours in runs so many times as long as random order makes them are no accident."""

FEWEST_CHANGES = 30
"""Changes of the value that random order would show; of fewer, nothing can be said."""

MOST_CLASSES = 10_000
"""A column of more different values is hardly a class."""

_MOST_COLUMNS = 8
"""Columns that are looked at where it is not clear which one is y."""


def advise(path: str, survey: Survey, roles: Roles | None, setting: Setting) -> list[Advice]:
    """What about the content of a file a person should know before training on it.

    Args:
        path: The file, as it is to be named in commands.
        survey: What is in it.
        roles: Which datasets are likely x and y.
        setting: What the order is judged for.
    """
    found = [advice for item in survey.datasets() for advice in unwritten.advise(path, item, roles)]
    found += _too_short(path, survey)
    found += _unusable(survey)
    return found + list(_sorted_rows(path, survey, roles, setting))


# Rows that are missing.


def _too_short(path: str, survey: Survey) -> Iterator[Advice]:
    """Datasets that are a little shorter than several others beside them."""
    fields = fields_of(survey.datasets())
    lengths: dict[tuple[str, int], list[str]] = {}
    for item in survey.datasets():
        if item.source and not item.error:
            place = item.name.rpartition("/")[0], item.source.length
            lengths.setdefault(place, []).append(item.name)
    beside = Counter(folder for (folder, _), names in lengths.items() for _ in names)
    for (folder, length), names in lengths.items():
        for (other_folder, more), others in lengths.items():
            near = folder == other_folder and length < more <= length * (1 + NEARLY)
            usual = len(others) > max(1, beside[folder] // 2)
            if near and len(names) == 1 and usual:
                text = (
                    f"It has {length:,} rows, and {', '.join(others[:3])} have {more:,}: fields of "
                    f"one data set need the same number. Write the other {more - length:,}, leave "
                    f"this field out, or leave out the rows that it lacks, with end={length}."
                )
                call = read_together(path, [*others, *names], fields, length)
                yield Advice("unequal-lengths", (names[0],), text, "python", call)


# Types that no model takes.


def _unusable(survey: Survey) -> Iterator[Advice]:
    """Columns beside the samples that have to be made something else first."""
    lengths = {item.source.length for item in survey.datasets() if item.source}
    for item in survey.datasets():
        rows = item.storage.length if item.storage else 0
        if isinstance(item.error, TypeNotSupportedError) and rows in lengths:
            yield Advice("unusable-type", (item.name,), f"It {item.said(survey.path)}")


# Rows sorted by class.


def _sorted_rows(
    path: str, survey: Survey, roles: Roles | None, setting: Setting
) -> Iterator[Advice]:
    usable = [item for item in survey.datasets() if numbers(item)]
    if not usable:
        return
    main = max(usable, key=lambda item: (item.storage and item.storage.decoded_bytes) or 0)
    if roles:
        main = next(item for item in usable if item.name == roles.x)
    columns = [item for item in usable if _is_column(item) and _length(item) == _length(main)]
    if roles and roles.y in [item.name for item in columns]:
        columns = [item for item in columns if item.name == roles.y]
    for item in columns[:_MOST_COLUMNS]:
        assert item.source
        try:
            found = _runs(item.source, item.name)
        except ChangedFileError:
            raise
        except ReadError as error:
            yield Advice("damaged", (item.name,), str(error))
            continue
        if found is None:
            continue
        named = roles or Roles(main.name, item.name if item != main else None)
        text = (
            f"Its rows come in order of their value: {found}. "
            f"{_evened_out(main, setting)} A split without a seed, or by start= and end=, puts "
            "other values into training than into validation: draw the rows at random."
        )
        command = f"{named.call(path)}.split(0.8, seed=0)"
        yield Advice("sorted-rows", (item.name,), text, "python", command)


def _is_column(item: Found) -> bool:
    """Whether a dataset holds one integer a row."""
    field = numbers(item)
    return field is not None and field.dtype.kind in "biu" and field.shape in ((), (1,))


def _length(item: Found) -> int:
    return item.source.length if item.source else 0


def _evened_out(main: Found, setting: Setting) -> str:
    """What shuffling makes of it when the largest dataset is read."""
    assert main.source
    assert main.storage
    if main.storage.layout == "virtual":
        # As long as a file cares to say, in blocks too small to matter.
        return "shuffle=True evens that out."
    try:
        shuffle = mixing(main.source, main.name, setting)
    except MemoryBudgetError:
        return f"shuffle=True needs more than {format_bytes(setting.memory)} to even that out."
    if shuffle is None:
        return "shuffle=True evens that out."
    if not mixes_well(shuffle, setting):
        return f"shuffle=True evens that out in part ({shuffle}): see the advice on large chunks."
    return f"shuffle=True evens that out ({shuffle})."


def _runs(source: HDF5Source, name: str) -> str | None:
    """How long equal values stay together, if that is no accident; None if rows are mixed."""
    places = _places(source, name)
    if places is None:
        return None
    values = view_of(source, [name]).read_any(places.reshape(-1), [name])[0][name]
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


def _places(source: HDF5Source, name: str) -> npt.NDArray[Any] | None:
    """Rows to look at, neighbours side by side; None if reading a few is too much."""
    layout, length = source.layout(name), source.length
    row_bytes = layout.row_bytes
    places, neighbours, step = PLACES, NEIGHBOURS, 1
    if layout.chunk_rows and not source.addressable([name]):
        height = layout.chunk_rows
        chunks = min(DECODED_CHUNKS, DECODED_BYTES // (height * row_bytes))
        if chunks * height < length:
            # One chunk at each place, or two of single rows.
            places, neighbours, step = min(PLACES, chunks), max(2, min(NEIGHBOURS, height)), height
    if places < 2:
        return None
    if neighbours == NEIGHBOURS and step == 1 and length * row_bytes <= WHOLE_BYTES:
        return np.arange(length).reshape(1, -1)
    apart = (length - neighbours) // (places - 1)
    starts = np.arange(places) * apart // step * step
    return np.unique(starts)[:, None] + np.arange(neighbours)
