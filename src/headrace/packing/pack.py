"""`pack`: rewrites any data set into HDF5 that trains fast."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.dataset import Dataset
from headrace.errors import (
    FileFormatError,
    MissingFileError,
    OptionError,
    check_integer,
    some_of,
)
from headrace.formats import open as open_data
from headrace.manifest import NAME, read_manifest
from headrace.packing.journal import read_progress
from headrace.resources import default_memory, parse_bytes
from headrace.spec import Structure
from headrace.staging import Staging, path_to_write, staging_folder, write_errors


def pack(
    data: Dataset,
    path: str | os.PathLike[str],
    *,
    compression: str | None = None,
    level: int | None = None,
    chunk: int | str | None = None,
    dtype: Any = None,
    allow_loss: bool = False,
    names: Mapping[str, str] | None = None,
    x: Structure = None,
    y: Structure = None,
    sample_weight: Structure = None,
    shuffle: bool = False,
    seed: int | None = None,
    shard_size: int | str | None = None,
    memory: int | str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    version: str | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Writes samples once into HDF5 from which training reads them faster; any h5py reads it.

    Without compression the rows of each field are contiguous and start at a page boundary, so that
    each row is read by its address and `shuffle=True` is exact. With compression, chunks hold whole
    samples. Map functions are applied, so that they cost nothing later. Attributes of the first
    file, its groups and its fields, such as names of classes, are copied, unless a map function
    changed the field.

    At any moment `path` holds what was there before, or the whole new data. A killed process leaves
    a hidden folder beside `path`, which the next run removes or resumes from.

    Args:
        data: The samples: any data set, also one that was split, filtered or mapped.
        path: The file to write; with `shard_size` a folder, in which `manifest.json` names the
            files, their rows and their SHA-256.
        compression: None, or "gzip", "lzf", "zstd", "lz4" or "bzip2". All but gzip and lzf need
            `hdf5plugin` for h5py to read them.
        level: The level of the compressor; None for its default.
        chunk: Bytes of a chunk of the largest field, before compression. None
            takes 2 MiB. Chunks of all fields hold the same rows.
        dtype: A dtype for all fields, or a dict of them for some. A value that it would change is
            an error.
        allow_loss: Lets casts change values, as NumPy does.
        names: New names for some fields.
        x: The model's input that the new file records, if it differs from that of `data`: fields
            of `data` as a name, a list or a dict, or `...` for all that y leaves. Fields in no
            part are written as well, such as a user's id to split by.
        y: Likewise, the target.
        sample_weight: Likewise, the weights.
        shuffle: Writes the rows in a uniform random order, so that any run of rows is mixed: the
            order of the first epoch of `batch(shuffle="exact", seed=seed)`. Data that do not fit
            in memory go through temporary files beside `path`, as large as the output.
        seed: The seed of that order; None draws one.
        shard_size: Bytes of the samples in a file, before compression, such as "4GB".
        memory: Bytes for everything that holds samples, as in `batch`.
        workers: Threads that read, map and compress; None takes the CPUs that the process may use.
        overwrite: Replaces what is at `path`: a file, or a folder that holds nothing but what
            `pack` wrote, and never a file that `data` reads.
        resume: Continues a sharded pack that was stopped; the result is the same, byte for byte.
            Data, map functions and options must be the same as before. Headrace compares lengths,
            types, some of the values, size and time of the files, and the code of functions with
            everything that it refers to.
        version: A version of the map functions, such as "2", which is compared in place of their
            code. `resume` needs it if a function refers to something that cannot be compared, such
            as a lock or a Keras model. Change it whenever you change a function.
        progress: Whether to show a bar; None does on a terminal.

    Returns:
        The packed data, as `hr.open(path)` returns them, with the x, y and sample_weight of `data`
        or of the arguments.

    Raises:
        OptionError: If an argument cannot be honoured, or something is at `path`, or a file that
            `data` reads would be replaced.
        FieldNotFoundError: If x, y or sample_weight names no field of `data`.
        LossError: If a dtype cannot hold a value; a `DataError` that names the row.
        TypeNotSupportedError: If HDF5 has no such type.
        DiskFullError: If the disk has no room; found out before the work if possible.
        WriteError: If the operating system reports an error to write.
        MemoryBudgetError: If `memory` is too small; says the least that works.
        StateError: If `resume` finds a pack of other data or with other options.

    Example:

    ```python
    packed = hr.pack(data, "fast.h5")
    packed = hr.pack(train, "train.h5", compression="gzip", shuffle=True, seed=0)
    packed = hr.pack(data, "packed", shard_size="4GB", dtype={"label": "uint8"})
    whole = hr.from_hdf5("cats.h5", x=["image", "user_id"], y="label")
    packed = hr.pack(whole, "cats-fast.h5", x="image", y="label")    # user_id goes along
    model.fit(packed.batch(32, shuffle=True))
    ```
    """
    from headrace.packing.plan import make_plan
    from headrace.packing.run import check_resources, write
    from headrace.packing.targets import is_published

    target = path_to_write(path)
    total = default_memory() if memory is None else parse_bytes(memory)
    check_integer("workers", workers, 1, or_none=True)
    plan = make_plan(
        data,
        compression=compression,
        level=level,
        chunk=chunk,
        dtype=dtype,
        allow_loss=allow_loss,
        shard_size=shard_size,
        seed=_seed(shuffle, seed, target, resume),
        names=names,
        parts=(x, y, sample_weight),
        version=version,
    )
    sharded = plan.shard_rows is not None
    _check_target(target, sharded, overwrite, resume)
    resources = check_resources(plan, total, workers)
    inputs = data.pipeline.files()
    with Staging(target, overwrite=overwrite, resume=resume, inputs=inputs) as staging:
        with write_errors(staging.target):
            published = sharded and is_published(plan, staging)
        if published:
            staging.remove()
        else:
            write(plan, staging, resources, progress)
            # Another process may have put something there meanwhile.
            _check_target(target, sharded, overwrite, resume)
            staging.publish()
    return open_data(target)


def _seed(shuffle: Any, seed: int | None, target: Path, resume: bool) -> int | None:
    """The seed of a random order; None for that of the data."""
    if not isinstance(shuffle, bool):
        raise OptionError(f"Expected shuffle to be True or False. Received: {shuffle!r}")
    check_integer("seed", seed, 0, or_none=True)
    if not shuffle:
        if seed is not None:
            raise OptionError("seed= is about shuffle=True. Say it as well, or leave seed= out.")
        return None
    if seed is None and resume:
        with write_errors(target):
            left = read_progress(staging_folder(target))
        seed = None if left is None else left.plan.get("seed")
    return secrets.randbits(31) if seed is None else int(seed)


def _check_target(target: Path, sharded: bool, overwrite: bool, resume: bool) -> None:
    """Checks that only files that pack made would be replaced."""
    with write_errors(target):
        _check_name(target, sharded, resume)
        if sharded and overwrite and target.is_dir():
            _check_folder(target)


def _check_name(target: Path, sharded: bool, resume: bool) -> None:
    if not sharded:
        if resume:
            raise OptionError("resume= continues packing into shards: give shard_size= as well.")
        if target.is_dir():
            raise OptionError(f"{target} is a folder. Name a file, or say shard_size=.")
        if target.name == NAME:
            raise OptionError(f"{NAME} is the name of what lists shards. Choose another name.")


def _check_folder(target: Path) -> None:
    """Checks that a folder holds only files that pack made."""
    others = sorted({item.name for item in target.iterdir()} - _names_in(target))
    if others:
        raise OptionError(
            f"{target} holds what pack did not put there: {some_of(others)}. Choose another "
            "name, or remove it yourself."
        )


def _names_in(folder: Path) -> set[str]:
    """The names of the files that pack wrote to a folder; empty if it wrote none."""
    try:
        manifest = read_manifest(folder / NAME)
    except (MissingFileError, FileFormatError):
        return set()
    return {NAME, *(shard.file for shard in manifest.shards)}
