"""Opens paths as one data set, for every format alike."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.dataset import Dataset
from headrace.errors import DataError, FieldNotFoundError, OptionError, check_integer, some_of
from headrace.formats.base import Format, Location
from headrace.formats.table import check_options, format_of
from headrace.loading import SourceRows, View
from headrace.manifest import Note
from headrace.order import Span
from headrace.pipeline import Pipeline
from headrace.sources import Source
from headrace.sources.paths import Paths, find_files
from headrace.spec import Field, Spec, Structure, check_names, check_weights, leaves


@dataclass(frozen=True)
class Opened:
    """The files that a call names, opened as one format.

    Attributes:
        locations: The files, one after the other; a file that is named twice is there twice.
    """

    locations: tuple[Location, ...]

    @property
    def first(self) -> Location:
        """The first file, which says what all of them hold."""
        return self.locations[0]

    @property
    def each(self) -> list[Location]:
        """Every file once."""
        return list({id(location): location for location in self.locations}.values())


def open_files(paths: Paths, options: dict[str, Any], kind: Format | None = None) -> Opened:
    """Opens the files that `paths` names.

    Args:
        paths: A path, a list of paths, or a pattern.
        options: The options of the format.
        kind: The format; None for that of the first file.

    Raises:
        MissingFileError, NoPermissionError, FileFormatError: If a file cannot be opened.
        UnknownOptionError: If the format has no such option.
    """
    found = find_files(paths)
    if kind is None:
        kind = format_of(found[0]) if _is_path(found[0]) else _format_for_objects()
    files = [
        file
        for path in found
        # Opening raises the error for what is not a path.
        for file in (kind.files(os.fspath(path)) if _is_path(path) else [path])
    ]
    check_options(kind, options)
    return Opened(tuple(kind.open_all(files, options)))


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


def _format_for_objects() -> Format:
    """The format whose error explains what was given in place of a path, such as an h5py file."""
    from headrace.formats.hdf5 import HDF5

    return HDF5()


def open(  # noqa: A001 - the name that users expect, as in `gzip.open`
    path: Paths,
    x: Structure = None,
    y: Structure = None,
    sample_weight: Structure = None,
    *,
    start: int = 0,
    end: int | None = None,
    **options: Any,
) -> Dataset:
    """Samples in files of a format that is found out by looking at their content.

    Args:
        path: The file; a list of files, whose rows follow each other; a pattern such as
            `"logs/*.h5"`; or a folder that `pack` wrote. Known are HDF5 files, NumPy's `.npy` and
            `.npz`, and what `headrace.formats.register` added.
        x: The model's input: a column's name, a list of names for several inputs, or a dict of
            names for named inputs. None takes the only column that `y` and `sample_weight` leave,
            `...` all that they leave. The array in a `.npy` file is called "x". Files that `pack`
            wrote know their x, y and sample_weight, if none of them is named.
        y: The target, likewise; None for data without one.
        sample_weight: A weight for each sample, likewise.
        start: First row used, counted over all files.
        end: Row before which to stop; None for the end of the data.
        **options: Of the format, such as `allow_external=True` for HDF5.

    Returns:
        A `Dataset`.

    Raises:
        MissingFileError: If there is no such file.
        FileFormatError: If the content is of no known format; says what it looks like.
        FieldNotFoundError: If there is no such column, or x is not named and not clear.
        UnknownOptionError: If the format has no such option.

    Example:

    ```python
    data = hr.open("cats.h5", x="image", y="label")
    ```
    """
    return dataset_of(path, (x, y, sample_weight), start, end, options)


def dataset_of(
    paths: Paths,
    parts: tuple[Structure, Structure, Structure],
    start: int,
    end: int | None,
    options: dict[str, Any],
    kind: Format | None = None,
) -> Dataset:
    """The samples in files: what `open`, and the functions for single formats, do.

    Args:
        paths: A path, a list of paths, or a pattern.
        parts: x, y and sample_weight as names of columns; x may be `...`.
        start: First row used.
        end: Row before which to stop; None for the end.
        options: The options of the format.
        kind: The format; None for that of the first file.
    """
    _check_parts(parts, end)
    return dataset_in(open_files(paths, options, kind).locations, parts, start, end)


def _check_parts(parts: tuple[Structure, Structure, Structure], end: int | None) -> None:
    for part, names in zip(("x", "y", "sample_weight"), parts, strict=True):
        check_names(part, names)
    check_weights(*parts[1:])
    if end is not None:
        check_integer("end", end)


def dataset_in(
    locations: Sequence[Location],
    parts: tuple[Structure, Structure, Structure],
    start: int,
    end: int | None,
) -> Dataset:
    """The samples in locations, one after the other.

    Args:
        locations: Of one format.
        parts: x, y and sample_weight as names of columns; x may be `...`.
        start: First row used.
        end: Row before which to stop; None for the end.
    """
    _check_parts(parts, end)
    opened = Opened(tuple(locations))
    note = opened.first.note()
    structure = _structure(opened.first, parts, note)
    # Of several files, only the sum of their rows is known to the user.
    cut = end if len(opened.locations) == 1 else None
    samples = {id(location): location.samples(structure, cut) for location in opened.each}
    rows = [(location, samples[id(location)].source) for location in opened.locations]
    _check_alike(rows)
    fields = rows[0][1].fields
    view = View(
        tuple(SourceRows(source, Span(0, source.length)) for _, source in rows),
        tuple(field.name for field in fields),
        mixed=all(known.shuffled is not None for known in _notes(note, opened)),
    )
    used = rows_between(start, end, len(view))
    named = samples[id(opened.first)].structure
    return Dataset(Pipeline(view.part(used.start, used.stop), Spec(fields, *named)))


def _notes(first: Note, opened: Opened) -> Iterator[Note]:
    """The note of each file, read only as far as the caller iterates."""
    yield first
    yield from (location.note() for location in opened.each[1:])


def _structure(
    location: Location, parts: tuple[Structure, Structure, Structure], note: Note
) -> tuple[Structure, Structure, Structure]:
    """x, y and sample_weight: as the user says, else as the files say, else what is left."""
    if all(part is None for part in parts):
        parts = (note.x, note.y, note.sample_weight)
    x, y, sample_weight = parts
    if x is not None and x is not ...:
        return parts
    taken = [name.strip("/") for name in (*leaves(y), *leaves(sample_weight))]
    unnamed = location.unnamed_x(taken)
    if unnamed is not None:
        return unnamed, y, sample_weight
    # A user who takes a member of a table does not want the rest of it, the target among it, as x.
    left = [
        name
        for name in location.names()
        if not any(other == name or other.startswith(f"{name}[") for other in taken)
    ]
    if len(left) != 1 and (x is None or not left):
        raise _which_x(location, left, taken)
    if x is None:
        location.check_unnamed_x(left[0])
    return left[0] if len(left) == 1 else left, y, sample_weight


def _which_x(location: Location, left: list[str], taken: list[str]) -> FieldNotFoundError:
    """The error for an x that is not named and not clear."""
    word, where = location.column_word, repr(location.path)
    if left:
        return FieldNotFoundError(
            f"Which {word} of {where} is x? Say it with x=. It holds: {some_of(left)}."
        )
    besides = f" besides {some_of(taken)}" if taken else ""
    return FieldNotFoundError(f"Which {word} of {where} is x? It holds no {word}s{besides}.")


def _check_alike(rows: Sequence[tuple[Location, Source]]) -> None:
    """Makes sure that all files have the fields of the first."""
    location, first = rows[0]
    for other_location, other in rows[1:]:
        for ours, theirs in zip(first.fields, other.fields, strict=True):
            if ours != theirs:
                raise DataError(
                    f"The files differ in {ours.name!r}: in {location.path!r} each sample is "
                    f"{_form(ours)}, in {other_location.path!r} {_form(theirs)}. Expected the same "
                    "shape and dtype in all files. Rewrite one, or leave it out."
                )


def _form(field: Field) -> str:
    return f"{field.shape} {field.dtype}"


def rows_between(start: int, end: int | None, length: int) -> Span:
    """The rows that `start=` and `end=` name.

    Raises:
        OptionError: If they name none.
    """
    stop = length if end is None else end
    for name, value in (("start", start), ("end", stop)):
        check_integer(name, value)
    if not 0 <= start < stop <= length:
        raise OptionError(
            f"Expected 0 <= start < end <= {length}, the number of rows. "
            f"Received: start={start}, end={end}"
        )
    return Span(int(start), int(stop))
