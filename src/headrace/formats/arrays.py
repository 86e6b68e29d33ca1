"""`from_arrays`: samples in arrays, in memory or not."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from headrace.dataset import Dataset
from headrace.errors import OptionError, ShapeError, some_of
from headrace.loading import SourceRows, View
from headrace.order import Span
from headrace.pipeline import Pipeline
from headrace.sources.zipped import Member, ZipSource
from headrace.spec import PARTS, Spec, Structure, check_weights, leaves


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
    """A data set of arrays side by side, named after their places in x, y and sample_weight.

    Args:
        parts: x, y and sample_weight: nests of arrays, or of what `member_of` takes.
        member_of: Called with a field's name and a leaf of the nests; returns its source.

    Raises:
        OptionError: If a part is an empty nest, or there are weights and no target.
        ShapeError: If the arrays differ in length.
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
