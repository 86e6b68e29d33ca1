"""From a path to a data set: one function for each format."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.dataset import Dataset
from headrace.errors import (
    DataError,
    FieldNotFoundError,
    OptionError,
    ShapeError,
    check_integer,
    some_of,
)
from headrace.loading import SourceRows, View
from headrace.manifest import ATTRIBUTE, Note, check_shard, manifest_at, read_manifest
from headrace.order import Span
from headrace.pipeline import Pipeline
from headrace.sources.paths import Paths, find_files
from headrace.sources.signatures import is_numpy_file, member_names
from headrace.sources.zipped import Member, ZipSource
from headrace.spec import (
    PARTS,
    Field,
    Spec,
    Structure,
    check_names,
    check_weights,
    leaves,
    map_structure,
)

if TYPE_CHECKING:
    from headrace.sources.hdf5 import HDF5Source


def from_hdf5(
    path: Paths,
    x: Structure = None,
    y: Structure = None,
    sample_weight: str | None = None,
    *,
    start: int = 0,
    end: int | None = None,
    allow_external: bool = False,
) -> Dataset:
    """Samples in datasets of an HDF5 file, or of several as if they were one.

    Nothing but the file's index is read until samples are asked for. Contiguous data,
    uncompressed chunks, and chunks behind the usual filters (gzip, lzf, szip, zstd, bzip2, lz4,
    blosc, blosc2, shuffle, bitshuffle, fletcher32) are read directly and decoded on all cores;
    everything else goes through h5py, slower and just as right.

    Args:
        path: The file; a list of files, whose rows follow each other; or a pattern such as
            `"shards/*.h5"` (`**` stands for folders of any depth), whose files come
            in natural order, `shard2` before `shard10`. A file that a list names twice is used
            twice; one that several patterns match, once.
        x: The model's input: the name of a dataset such as `"image"` or `"group/image"`, a
            list of names for several inputs, or a dict of names for named inputs. A member of
            compound values is named as in h5py, `"jets['pt']"` or `"event['jet']['pt']"`;
            members of one dataset are read together. None takes the only dataset that `y` and
            `sample_weight` leave, `...` all that they leave.
        y: The target, likewise; None for data without one. A file that `pack` wrote knows its
            x, y and sample_weight, if none of them is named.
        sample_weight: Name of a dataset with a weight for each sample.
        start: First row used, counted over all files.
        end: Row before which to stop; None for the end of the data. Fields of one file may have
            more rows than that, and not all the same number.
        allow_external: Whether a file may keep data in files anywhere: through external storage,
            external links, and virtual datasets of files outside its folder. Such a file can
            name any file that you may read, so say True only if you trust it.

    Returns:
        A `Dataset`. Fields keep their dtype, in native byte order.

    Raises:
        MissingFileError: If there is no such file, or a pattern matches none.
        FileFormatError: If it is no HDF5 file, or is damaged.
        LockedFileError: If another process is writing to it.
        FieldNotFoundError: If it has no such dataset, or a dataset no such member.
        ShapeError: If a dataset is scalar or empty, or they differ in length and some end before
            `end`.
        TypeNotSupportedError: If a dataset holds variable-length values.
        DataError: If files differ in the shape or dtype of a field, or data lie in other files
            and may not, or are missing there.
        OptionError: If `start` and `end` do not name rows of the data.

    Example:

    ```python
    data = hr.from_hdf5("cats.h5", x="image", y="label")
    data = hr.from_hdf5("cats.h5", x={"photo": "image", "age": "meta/age"}, y="label")
    data = hr.from_hdf5("shards/*.h5", x="image", y="label")
    data = hr.from_hdf5("jets.h5", x=["jets['pt']", "jets['mass']"], y="jets['tag']")
    ```
    """
    from headrace.sources.hdf5 import HDF5Source, list_datasets, path_of, read_note

    for part, names in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        check_names(part, names)
    if not isinstance(allow_external, bool):
        raise OptionError(
            f"Expected allow_external to be True or False. Received: {allow_external!r}"
        )
    check_weights(y, sample_weight)
    files = [path_of(file) for file in find_files(path)]
    note = Note.from_json(read_note(files[0], ATTRIBUTE) or "") or Note()
    if x is None and y is None and sample_weight is None:
        x, y, sample_weight = note.x, note.y, note.sample_weight
    if x is None or x is ...:
        taken = [name.strip("/") for name in (*leaves(y), *leaves(sample_weight))]
        # Who takes a member of a table does not want the rest of it, the target among it, as x.
        left = [
            name
            for name in list_datasets(files[0])
            if not any(other == name or other.startswith(f"{name}[") for other in taken)
        ]
        if len(left) != 1 and (x is None or not left):
            raise _which_x(files[0], left, taken)
        if x is None:
            _check_axes(files[0], left[0])
        x = left[0] if len(left) == 1 else left
    names = [*leaves(x), *leaves(y), *leaves(sample_weight)]
    if end is not None:
        check_integer("end", end)
    cut = end if len(files) == 1 else None
    opened = {
        file: HDF5Source(file, names, end=cut, allow_external=allow_external)
        for file in dict.fromkeys(files)
    }
    sources = [opened[file] for file in files]
    _check_alike(sources)
    first = sources[0]
    view = View(
        tuple(SourceRows(source, Span(0, source.length)) for source in sources),
        tuple(field.name for field in first.fields),
        mixed=note.shuffled is not None and all(map(_is_mixed, opened)),
    )
    rows = rows_between(start, end, len(view))
    as_tuples = [map_structure(str, part) for part in (x, y, sample_weight)]
    return Dataset(Pipeline(view.part(rows.start, rows.stop), Spec(first.fields, *as_tuples)))


def _which_x(file: str, left: list[str], taken: list[str]) -> FieldNotFoundError:
    """The error where x is not named, and not clear."""
    if left:
        return FieldNotFoundError(
            f"Which dataset of {file!r} is x? Say it with x=. It holds: {some_of(left)}."
        )
    besides = f" besides {some_of(taken)}" if taken else ""
    return FieldNotFoundError(f"Which dataset of {file!r} is x? It holds no datasets{besides}.")


def _check_axes(file: str, x: str) -> None:
    """Makes sure that samples are the first axis of an x that nobody named."""
    from headrace.sources.hdf5.marks import axes_reversed

    if axes_reversed(file, x):
        raise FieldNotFoundError(
            f"{x!r} in {file!r} is an array of MATLAB, which stores axes in reverse: its samples "
            "are likely the last axis. `headrace info` prints code that reads them so; "
            f"x={x!r} takes the first axis."
        )


def _is_mixed(file: str) -> bool:
    """Whether the rows of a packed file lie in a random order."""
    from headrace.sources.hdf5 import read_note

    note = Note.from_json(read_note(file, ATTRIBUTE) or "")
    return note is not None and note.shuffled is not None


def from_arrays(x: Structure, y: Structure = None, sample_weight: Any = None) -> Dataset:
    """Samples in arrays, in memory or not.

    Nothing is copied, and nothing is loaded: rows are taken when a batch needs them.

    Args:
        x: The model's input: an array whose first axis runs over samples; a list of arrays for
            several inputs, a dict of them for named inputs, or any nest of these. An array is one
            of:

            - a NumPy array, in memory or mapped, or an array of JAX, PyTorch or TensorFlow in the
              machine's memory;
            - the path of a `.npy` file, or of a member of an uncompressed `.npz` file:
              `"data.npz/image"`;
            - a pandas or polars data frame of numbers, which gives shape `(columns,)` in a
              dtype that holds them all, or a series, which gives shape `()`;
            - a scipy.sparse matrix, whose rows are made dense batch by batch;
            - an h5py dataset, which is read as `from_hdf5` does if its file is open for reading;
            - anything else with `shape` and `[start:stop]`, such as a zarr array; if it has
              `chunks`, whole ones are read. `pack` writes over none of the files that its method
              `files()` gives; without one, over none that this process has open.
        y: The target, likewise; None for data without one.
        sample_weight: A weight for each sample, likewise.

    Returns:
        A `Dataset`. Fields are called `x`, `y` and `sample_weight`, with what leads to them in a
        nest: `x.0`, `x.photo`. They keep their dtype, in native byte order.

    Raises:
        OptionError: If something is no array.
        ShapeError: If an array has no rows, or they differ in length.
        TypeNotSupportedError: If one holds Python objects, text in a data frame, or masked values.
        DataError: If values are missing in whole numbers of a data frame, or no dtype holds all of
            its columns.
        MissingFileError: If there is no such file.
        FileFormatError: If it is no file of NumPy's, is damaged, or compressed.

    Example:

    ```python
    data = hr.from_arrays(x_train, y_train)
    data = hr.from_arrays({"photo": "photos.npy", "age": table["age"]}, "labels.npy")
    train, val = data.split(0.8, seed=0)
    ```
    """
    from headrace.sources.arrays import array_source

    def member(name: str, value: Any) -> Member:
        source = array_source(name, value)
        return Member(source, {name: source.fields[0].name})

    return side_by_side((x, y, sample_weight), member)


def side_by_side(
    parts: tuple[Structure, Structure, Structure], member_of: Callable[[str, Any], Member]
) -> Dataset:
    """A data set of things side by side, named by their places in x, y and sample_weight.

    Args:
        parts: Nests of things.
        member_of: Makes one thing the source of a field of a name.

    Raises:
        OptionError: If a part is an empty nest, or there are weights and no target.
        ShapeError: If the things differ in length.
    """
    check_weights(*parts[1:])
    members: dict[str, Member] = {}

    def place(value: Structure, name: str) -> Structure:
        if isinstance(value, Mapping) and not hasattr(value, "shape"):
            return {key: place(inner, f"{name}.{key}") for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(place(inner, f"{name}.{i}") for i, inner in enumerate(value))
        if value is None and name != "x":
            raise OptionError(
                f"{name} is None, beside others. Expected an array for each: of weights, np.ones() "
                "where all count alike."
            )
        while name in members:  # {1: a, "1": b}
            name += "'"
        members[name] = member_of(name, value)
        return name

    names = [
        None if value is None and name != "x" else place(value, name)
        for name, value in zip(PARTS, parts, strict=True)
    ]
    for name, structure in zip(PARTS, names, strict=True):
        if structure is not None and not leaves(structure):
            raise OptionError(f"Expected an array in {name}. Received an empty list or dict.")
    lengths = {name: member.length for name, member in members.items()}
    if len(set(lengths.values())) > 1:
        listed = some_of([f"{name} has {length}" for name, length in lengths.items()])
        hint = ""
        if isinstance(parts[0], list) and isinstance(parts[0][0], (str, os.PathLike)):
            hint = (
                f" A list stands for several inputs, here {len(parts[0])} of them; files with one "
                "sample each are read by from_sequence(..., batch_size=)."
            )
        raise ShapeError(
            f"The arrays have different numbers of rows: {listed}. Every sample needs "
            f"a row in each.{hint}"
        )
    whole = ZipSource(list(members.values()))
    view = View((SourceRows(whole, Span(0, whole.length)),), tuple(members))
    return Dataset(Pipeline(view, Spec(whole.fields, *names)))


def open(  # noqa: A001 - the name that users expect, as in `gzip.open`
    path: Paths, x: Structure = None, y: Structure = None, **options: Any
) -> Dataset:
    """Samples in a file of a format that is found out by looking at its content.

    Args:
        path: The file, a list of files, or a pattern, as in `from_hdf5`; or a folder that `pack`
            wrote. HDF5 files, and NumPy's `.npy` and `.npz` are known so far.
        x: The model's input, as in `from_hdf5`; for `.npz` files the name of an array. Packed
            data know their x, y and sample_weight, if none of them is named.
        y: The target, likewise.
        **options: Passed on to the function for the format.

    Returns:
        A `Dataset`.

    Raises:
        FileFormatError: If the content is of no known format; says what it looks like.

    Example:

    ```python
    data = hr.open("cats.h5", x="image", y="label")
    ```
    """
    if isinstance(path, (str, os.PathLike)):
        manifest = manifest_at(Path(path))
        if manifest is not None:
            return _open_shards(manifest, x, y, **options)
        if is_numpy_file(path):
            return _open_numpy(Path(path), x, y, **options)
    return from_hdf5(path, x, y, **options)


def _open_shards(path: Path, x: Structure, y: Structure, **options: Any) -> Dataset:
    """The shards that a manifest names, as one data set."""
    manifest = read_manifest(path)
    files = [path.parent / shard.file for shard in manifest.shards]
    for file, shard in zip(files, manifest.shards, strict=True):
        check_shard(file, shard)
    return from_hdf5(files, x, y, **options)


def _open_numpy(
    path: Path,
    x: Structure,
    y: Structure,
    sample_weight: Structure = None,
    *,
    start: int = 0,
    end: int | None = None,
) -> Dataset:
    """The array in a `.npy` file, or arrays in an `.npz` file by their names."""
    if x is ...:
        taken = [*leaves(y), *leaves(sample_weight)]
        x = [name for name in member_names(path) if name not in taken] or None
    if x is None and y is None and sample_weight is None:
        data = from_arrays(path)
    else:
        for part, names in zip(PARTS, (x, y, sample_weight), strict=True):
            check_names(part, names)
        parts = [map_structure(lambda name: path / name, names) for names in (x, y, sample_weight)]
        data = from_arrays(*parts)
    rows = rows_between(start, end, len(data))
    return data if len(rows) == len(data) else data.part(rows.start, rows.stop)


def _check_alike(sources: "Sequence[HDF5Source]") -> None:
    """Makes sure that all sources have the fields of the first."""
    first = sources[0]
    for other in sources[1:]:
        for ours, theirs in zip(first.fields, other.fields, strict=True):
            if ours != theirs:
                raise DataError(
                    f"The files differ in {ours.name!r}: in {first.path!r} each sample is "
                    f"{_form(ours)}, in {other.path!r} {_form(theirs)}. Expected the same "
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
