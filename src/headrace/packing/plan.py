"""`PackPlan`: what is packed and how, decided before the first row is read."""

import posixpath
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from headrace.dataset import Dataset
from headrace.errors import OptionError, ShapeError, StateError, did_you_mean, some_of
from headrace.manifest import ATTRIBUTE, CHECKSUMS, Note, structure_of
from headrace.pipeline import Pipeline
from headrace.resources import parse_bytes
from headrace.spec import PARTS, Field, Spec, Structure, map_structure, may_be_named
from headrace.writing import ENCODERS, Cast, Storage
from headrace.writing.casts import plain
from headrace.writing.hdf5 import check_types

CHUNK = "2MiB"
PIECE_BYTES = 1 << 20
"""Bytes that are written at once if rows are contiguous."""

_MEMBER = re.compile(r"\['([^']*)'\]")


@dataclass(frozen=True)
class PackPlan:
    """What is packed and how.

    Attributes:
        pipeline: The samples.
        spec: The fields of the samples.
        fields: The fields of the file, in the same order.
        casts: For each field, the cast to its dtype in the file.
        structure: x, y and sample_weight as names of the file.
        storage: How values are stored.
        rows: Samples.
        piece_rows: Samples that are encoded and written at once.
        shard_rows: Samples in a shard; None for a single file.
        seed: The seed of a random order; None for the order of the data.
        attributes: The attributes of the first source, by the new names of fields and groups. "/"
            is the root group; names of other groups end in "/".
        version: The user's version of the map functions; None to compare the functions.
    """

    pipeline: Pipeline
    spec: Spec
    fields: tuple[Field, ...]
    casts: tuple[Cast, ...]
    structure: Mapping[str, Structure]
    storage: Storage
    rows: int
    piece_rows: int
    shard_rows: int | None
    seed: int | None
    attributes: Mapping[str, Mapping[str, Any]]
    version: str | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a sample in the file, before compression."""
        return sum(field.nbytes for field in self.fields)

    @property
    def scratch(self) -> int:
        """Bytes that encoding a piece takes besides its values: a reordered copy and the result."""
        if self.storage.compression is None:
            return 0
        return 2 * self.piece_rows * max(field.nbytes for field in self.fields)

    def note(self, **more: Any) -> Note:
        """The note of the packed file."""
        return Note(**self.structure, shuffled=self.seed, **more)

    def notes(self) -> dict[str, dict[str, Any]]:
        """A copy of the attributes of the output."""
        return {name: dict(noted) for name, noted in self.attributes.items()}

    def functions(self) -> list[str]:
        """The version of the map functions, or their digests.

        Raises:
            StateError: If a function has no digest that is valid in another process.
        """
        if self.version is not None:
            return [f"version {self.version}" for _ in self.pipeline.maps]
        return [step.digest() for step in self.pipeline.maps]

    @cached_property
    def description(self) -> dict[str, Any]:
        """Everything that determines the bytes of the output, as JSON-compatible data."""
        view, sampler = self.pipeline.view, self.pipeline.sampler
        times = [_size_and_time(file) for file in view.files()]
        text = f"{view.fingerprint()} {times} {sampler and sampler.digest}"
        functions = None
        with suppress(StateError):
            functions = self.functions()
        return {
            "data": blake2b(text.encode(), digest_size=8).hexdigest(),
            "map functions": functions,
            "rows": self.rows,
            "fields": [str(field) for field in self.fields],
            "structure": str(dict(self.structure)),
            "compression": self.storage.compression,
            "level": self.storage.level,
            "chunk rows": self.storage.chunk_rows,
            "shard rows": self.shard_rows,
            "seed": self.seed,
            "casts": [cast.safe for cast in self.casts],
        }


def make_plan(
    data: Dataset,
    *,
    compression: str | None,
    level: int | None,
    chunk: int | str | None,
    dtype: Any,
    allow_loss: bool,
    shard_size: int | str | None,
    seed: int | None,
    names: Mapping[str, str] | None,
    parts: tuple[Structure, Structure, Structure] = (None, None, None),
    version: str | None = None,
) -> PackPlan:
    """Makes the plan of `pack`, whose arguments these are; `parts` is x, y and sample_weight.

    Raises:
        FieldNotFoundError: If a part is no field.
        OptionError: If an argument cannot be honoured.
        ShapeError: If there are no rows.
        TypeNotSupportedError: If HDF5 has no such type.
    """
    if not isinstance(data, Dataset):
        raise OptionError(f"Expected a data set to pack. Received: {data!r}")
    if version is not None and not isinstance(version, str):
        raise OptionError(f"Expected version to be a text, or None. Received: {version!r}")
    if not len(data):
        raise ShapeError("The data set has no rows, so there is nothing to pack.")
    spec = data.spec
    dtypes = _dtypes(spec, dtype)
    stored = _stored_names(spec, names)
    casts = tuple(Cast(f.name, f.dtype, dtypes[f.name], allow_loss) for f in spec.fields)
    fields = tuple(
        Field(stored[f.name], f.shape, cast.target)
        for f, cast in zip(spec.fields, casts, strict=True)
    )
    check_types(fields)
    row_bytes = sum(field.nbytes for field in fields)
    shard_rows = None if shard_size is None else max(1, parse_bytes(shard_size) // row_bytes)
    most = min(len(data), shard_rows or len(data))
    if compression is None:
        _refuse_without_compression(level, chunk)
        piece_rows = min(most, max(1, PIECE_BYTES // row_bytes))
        storage = Storage()
    else:
        largest = max(field.nbytes for field in fields)
        piece_rows = min(most, max(1, parse_bytes(CHUNK if chunk is None else chunk) // largest))
        storage = Storage(compression, _level(compression, level), piece_rows)
    if shard_rows is not None:
        # A shard consists of whole pieces.
        shard_rows = shard_rows // piece_rows * piece_rows
    named = _structure(spec, parts)
    return PackPlan(
        pipeline=data.pipeline,
        spec=spec,
        fields=fields,
        casts=casts,
        structure={part: map_structure(stored.__getitem__, nest) for part, nest in named},
        storage=storage,
        rows=len(data),
        piece_rows=piece_rows,
        shard_rows=shard_rows,
        seed=seed,
        attributes=_attributes(data.pipeline, {name: stored[name] for name in spec}),
        version=version,
    )


def _size_and_time(file: str) -> tuple[int, int] | None:
    """Size and time of a file, which change when it is written to; None if it does not exist."""
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _structure(
    spec: Spec, parts: tuple[Structure, Structure, Structure]
) -> Iterable[tuple[str, Structure]]:
    """x, y and sample_weight by the names of the data: the arguments, or those of the data."""
    if all(part is None for part in parts):
        return [(part, getattr(spec, part)) for part in PARTS]
    x, y, sample_weight = parts
    return structure_of(spec, ... if x is None else x, y, sample_weight).items()


def _attributes(pipeline: Pipeline, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The attributes to copy; warns about those that cannot be copied.

    Args:
        pipeline: The samples. With map functions, attributes of fields do not apply.
        names: The new name of each field.
    """
    if pipeline.maps:
        return {"/": {}}
    source = pipeline.view.parts[0].source
    groups = _groups_of(names) & _groups_of(names.values())
    found = {"/": source.attributes("/")}
    found |= {group: source.attributes(group) for group in sorted(groups)}
    found |= {new: source.attributes(name) for name, new in names.items()}
    # The attributes of a packed file itself are about that file.
    ours = (ATTRIBUTE, CHECKSUMS)
    theirs = ours if ATTRIBUTE not in found["/"] else ()
    left = [
        f"{place}: {key}"
        for place, some in found.items()
        for key, value in some.items()
        if value is None or key in theirs
    ]
    if left:
        warnings.warn(
            "The new file does not have these attributes, which are references, lists of any "
            f"length, very large, unreadable, or named as its own: {some_of(left)}.",
            stacklevel=4,
        )
    return {
        name: {key: v for key, v in some.items() if v is not None and key not in ours}
        for name, some in found.items()
    }


def _groups_of(names: Iterable[str]) -> set[str]:
    """The groups that contain these names, each with "/" at its end."""
    return {name[: match.end()] for name in names for match in re.finditer("(?!^)/", name)}


def _refuse_without_compression(level: int | None, chunk: int | str | None) -> None:
    for name, value in (("level", level), ("chunk", chunk)):
        if value is not None:
            raise OptionError(
                f"{name}= is about compressed chunks, and nothing is compressed. Say "
                f"compression= as well, or leave {name}= out."
            )


def _level(compression: Any, level: int | None) -> int:
    if not isinstance(compression, str) or compression not in ENCODERS:
        raise OptionError(
            f"Expected compression to be None or one of {', '.join(ENCODERS)}. "
            f"Received: {compression!r}"
        )
    levels = ENCODERS[compression].levels
    if level is None:
        return levels[0] if levels else 0
    if level not in levels:
        there = f"{min(levels)} to {max(levels)}" if levels else "no level"
        raise OptionError(f"{compression} has {there}. Received: level={level!r}")
    return int(level)


def _dtypes(spec: Spec, dtype: Any) -> dict[str, np.dtype[Any]]:
    """The dtype of each field in the file."""
    wanted: Mapping[str, Any]
    if isinstance(dtype, Mapping):
        wanted = dtype
    else:
        wanted = {} if dtype is None else dict.fromkeys(spec, dtype)
    for name in wanted:
        _check_field(spec, name, "dtype")
    try:
        made = {f.name: plain(np.dtype(wanted.get(f.name, f.dtype))) for f in spec.fields}
    except TypeError as error:
        raise OptionError(f"Expected dtype= to name NumPy dtypes: {error}") from error
    for name, dtype in made.items():
        if not dtype.itemsize:
            raise OptionError(
                f"{dtype.name} has no bytes for values of {name!r}. Say how many: dtype='S10'."
            )
    return made


def _stored_names(spec: Spec, names: Mapping[str, str] | None) -> dict[str, str]:
    """The name of each field in the file; members of compound values get a plain name."""
    for name in names or {}:
        _check_field(spec, name, "names")
    stored = {name: (names or {}).get(name, _plain_name(name)) for name in spec}
    taken = list(stored.values())
    for name, new in stored.items():
        if not may_be_named(new, taken):
            raise OptionError(
                f"Field {name!r} cannot be stored as {new!r}: each needs a name of its own, which "
                "is not a group of others. Give it one with names=."
            )
    return stored


def _plain_name(name: str) -> str:
    """A name for a dataset: that of the field, with members and paths such as `./a` simplified."""
    plain = _MEMBER.sub(r".\1", name)
    return posixpath.normpath(plain).lstrip("/") if "/" in plain else plain


def _check_field(spec: Spec, name: Any, option: str) -> None:
    if name not in spec:
        raise OptionError(
            f"{option}= names a field {name!r}, which is not there."
            f"{did_you_mean(str(name), spec)} There are: {some_of(list(spec))}"
        )
