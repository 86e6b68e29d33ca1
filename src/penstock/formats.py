"""From a path to a data set: one function for each format."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.dataset import Dataset
from penstock.errors import DataError, FieldNotFoundError, OptionError, check_integer, some_of
from penstock.loading import Part, View
from penstock.order import Span
from penstock.sources.paths import Paths, find_files
from penstock.spec import Field, Spec, Structure, leaves, map_structure

if TYPE_CHECKING:
    from penstock.sources.hdf5 import HDF5Source


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
            `sample_weight` leave.
        y: The target, likewise; None for data without one.
        sample_weight: Name of a dataset with a weight for each sample.
        start: First row used, counted over all files.
        end: Row before which to stop; None for the end of the data.
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
        ShapeError: If a dataset is scalar or empty, or they differ in length.
        TypeNotSupportedError: If a dataset holds variable-length values.
        DataError: If files differ in the shape or dtype of a field, or data lie in other files
            and may not, or are missing there.
        OptionError: If `start` and `end` do not name rows of the data.

    Example:

    ```python
    data = ps.from_hdf5("cats.h5", x="image", y="label")
    data = ps.from_hdf5("cats.h5", x={"photo": "image", "age": "meta/age"}, y="label")
    data = ps.from_hdf5("shards/*.h5", x="image", y="label")
    data = ps.from_hdf5("jets.h5", x=["jets['pt']", "jets['mass']"], y="jets['tag']")
    ```
    """
    from penstock.sources.hdf5 import HDF5Source, list_datasets, path_of

    for part, names in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        _check_names(part, names)
    if not isinstance(allow_external, bool):
        raise OptionError(
            f"Expected allow_external to be True or False. Received: {allow_external!r}"
        )
    if sample_weight is not None and y is None:
        raise OptionError("sample_weight= needs y=: Keras weighs the loss of targets.")
    files = [path_of(file) for file in find_files(path)]
    if x is None:
        taken = [name.strip("/") for name in (*leaves(y), *leaves(sample_weight))]
        # Who takes a member of a table does not want the rest of it, the target among it, as x.
        left = [
            name
            for name in list_datasets(files[0])
            if not any(other == name or other.startswith(f"{name}[") for other in taken)
        ]
        if len(left) != 1:
            raise FieldNotFoundError(
                f"Which dataset of {files[0]!r} is x? Say it with x=. "
                f"It holds: {some_of(left) or 'no other dataset'}."
            )
        x = left[0]
    names = [*leaves(x), *leaves(y), *leaves(sample_weight)]
    opened = {
        file: HDF5Source(file, names, allow_external=allow_external)
        for file in dict.fromkeys(files)
    }
    sources = [opened[file] for file in files]
    _check_alike(sources)
    first = sources[0]
    view = View(
        tuple(Part(source, Span(0, source.length)) for source in sources),
        tuple(field.name for field in first.fields),
    )
    rows = _rows(start, end, len(view))
    as_tuples = [map_structure(str, part) for part in (x, y, sample_weight)]
    return Dataset(view.part(rows.start, rows.stop), Spec(first.fields, *as_tuples))


def open(  # noqa: A001 - the name that users expect, as in `gzip.open`
    path: Paths, x: Structure = None, y: Structure = None, **options: Any
) -> Dataset:
    """Samples in a file of a format that is found out by looking at its content.

    Args:
        path: The file, a list of files, or a pattern, as in `from_hdf5`. HDF5 is the format
            known so far.
        x: The model's input, as in `from_hdf5`.
        y: The target, likewise.
        **options: Passed on to the function for the format.

    Returns:
        A `Dataset`.

    Raises:
        FileFormatError: If the content is of no known format; says what it looks like.

    Example:

    ```python
    data = ps.open("cats.h5", x="image", y="label")
    ```
    """
    return from_hdf5(path, x, y, **options)


def _check_names(part: str, names: Structure) -> None:
    found: list[Any] = []
    # None is a leaf here, unlike in `leaves`: it would be dropped without a word.
    waiting = [names] if names is not None else []
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
        else:
            found.append(item)
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong or (names is not None and not found):
        received = wrong[0] if wrong else names
        shown = type(received).__name__ if hasattr(received, "shape") else repr(received)
        raise OptionError(
            f"Expected {part}= to be a dataset's name, or a list or dict of names. "
            f"Received: {shown}"
        )


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


def _rows(start: int, end: int | None, length: int) -> Span:
    stop = length if end is None else end
    for name, value in (("start", start), ("end", stop)):
        check_integer(name, value)
    if not 0 <= start < stop <= length:
        raise OptionError(
            f"Expected 0 <= start < end <= {length}, the number of rows. "
            f"Received: start={start}, end={end}"
        )
    return Span(int(start), int(stop))
