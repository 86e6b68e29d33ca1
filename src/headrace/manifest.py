"""The note in a packed file, and the manifest of a folder of shards."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.errors import FileFormatError, MissingFileError, OptionError, field_not_found
from headrace.spec import PARTS, Field, Structure, check_names, check_weights, leaves, map_structure

NAME = "manifest.json"
"""The file name of the manifest."""

ATTRIBUTE = "headrace"
"""The attribute of the root group of a packed file that holds its note."""

CHECKSUMS = "crc32"
"""The attribute of a dataset of a packed file: the CRC-32 of each run of rows, as `zlib.crc32`
computes it from the values in native byte order and C order."""

VERSION = 1
_MOST_BYTES = 1 << 28
_SHARD_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Note:
    """The note in a packed file.

    Attributes:
        x: Names of datasets, in the structure in which the model gets them.
        y: Likewise.
        sample_weight: Likewise.
        shuffled: The seed of the order of the rows; None if it is not random.
        checksum_rows: Rows in each run that has a checksum; 0 without checksums.
        attributes: The checksums of the attributes of datasets and groups, by their names.
    """

    x: Structure = None
    y: Structure = None
    sample_weight: Structure = None
    shuffled: int | None = None
    checksum_rows: int = 0
    attributes: Mapping[str, Mapping[str, int]] | None = None

    def to_json(self) -> str:
        """The note as text."""
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Note | None":
        """The note in a text; None if the text is no such note."""
        try:
            found = json.loads(text)
            if found.pop("version") != VERSION:
                return None
            note = cls(**found)
            parts = {part: map_structure(str, getattr(note, part)) for part in PARTS}
            shuffled = None if note.shuffled is None else int(note.shuffled)
            attributes = {
                str(name): {str(key): int(value) for key, value in some.items()}
                for name, some in (note.attributes or {}).items()
            }
            rows = max(0, int(note.checksum_rows))
            return cls(**parts, shuffled=shuffled, checksum_rows=rows, attributes=attributes)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def structure_of(
    names: Iterable[str], x: Structure, y: Structure = None, sample_weight: Structure = None
) -> dict[str, Structure]:
    """x, y and sample_weight in the form of a note; x may be `...`.

    Raises:
        OptionError: If one is not a nest of names, or there are weights without a target.
        FieldNotFoundError: If there is no such field.
    """
    there = list(names)
    if x is ...:
        x = [name for name in there if name not in (*leaves(y), *leaves(sample_weight))]
    parts = dict(zip(PARTS, (x, y, sample_weight), strict=True))
    for part, structure in parts.items():
        check_names(part, structure)
        for name in leaves(structure):
            if name not in there:
                raise field_not_found(str(name), there, f"{part}= of the new file")
    check_weights(y, sample_weight)
    kept = Note.from_json(Note(**parts).to_json()) or Note()
    for part, structure in parts.items():
        if getattr(kept, part) != map_structure(str, structure):
            raise OptionError(
                f"{part}= cannot be noted in a file: expected names in tuples, lists and dicts "
                f"whose keys are strings. Received: {structure!r}"
            )
    return parts


@dataclass(frozen=True)
class Shard:
    """A file of a packed folder.

    Attributes:
        file: Its name.
        rows: Samples in it.
        bytes: Its size.
        sha256: The SHA-256 of the file, as hex digits.
    """

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of a folder of shards.

    Attributes:
        fields: The fields of a sample, by the names of the datasets.
        shards: The files, in the order of their rows.
        note: Structure and order of the samples.
    """

    fields: tuple[Field, ...]
    shards: tuple[Shard, ...]
    note: Note

    @property
    def rows(self) -> int:
        """The number of samples in all shards."""
        return sum(shard.rows for shard in self.shards)

    def to_json(self) -> str:
        """The manifest as text that people can read."""
        note = {part: getattr(self.note, part) for part in PARTS}
        document = {
            "format": "headrace",
            "version": VERSION,
            "rows": self.rows,
            "fields": [
                {"name": f.name, "shape": list(f.shape), "dtype": _dtype_text(f.dtype)}
                for f in self.fields
            ],
            **note,
            "shuffled": self.note.shuffled,
            "shards": [asdict(shard) for shard in self.shards],
        }
        return json.dumps(document, indent=2) + "\n"


def manifest_at(path: Path) -> Path | None:
    """The manifest that a path leads to: a folder with one, or the file itself."""
    if path.is_dir() and (path / NAME).is_file():
        return path / NAME
    return path if path.name == NAME and path.is_file() else None


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a manifest.

    Raises:
        MissingFileError: If it does not exist.
        FileFormatError: If it is damaged, or of a later version.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FileFormatError(f"{path} is too large for a manifest.")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise MissingFileError(f"There is no manifest {path}.") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != "headrace":
        raise FileFormatError(f"{path} is no manifest of packed data.")
    version = document.get("version")
    if version != VERSION:
        raise FileFormatError(
            f"{path} has version {version!r}, and this Headrace reads {VERSION}. Update Headrace."
        )
    try:
        return _parsed(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def find_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is no readable one."""
    try:
        return read_manifest(folder / NAME)
    except (MissingFileError, FileFormatError, NotADirectoryError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest to a staging folder; `Staging` flushes it to the disk."""
    (folder / NAME).write_text(manifest.to_json())


def check_shard(path: Path, shard: Shard) -> None:
    """Checks that a shard exists and has the size in the manifest.

    Raises:
        MissingFileError: If it does not exist.
        FileFormatError: If it has another size.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise MissingFileError(
            f"The manifest {path.parent / NAME} names {shard.file}, which is not there. Restore "
            "it, or pack anew."
        ) from None
    if size != shard.bytes:
        raise FileFormatError(
            f"{path} has {size} bytes, and its manifest says {shard.bytes}. Restore it, or pack "
            "anew."
        )


def _parsed(document: dict[str, Any]) -> Manifest:
    fields = tuple(
        Field(str(f["name"]), tuple(map(int, f["shape"])), _dtype_of(f["dtype"]))
        for f in document["fields"]
    )
    shards = tuple(
        Shard(str(s["file"]), int(s["rows"]), int(s["bytes"]), str(s["sha256"]))
        for s in document["shards"]
    )
    for shard in shards:
        # A manifest from an untrusted source must not name files outside its folder.
        if not _SHARD_NAME.fullmatch(shard.file) or shard.file in (".", "..") or shard.rows < 1:
            raise ValueError(f"shard {shard.file!r} of {shard.rows} rows")
    if not shards or not fields or sum(shard.rows for shard in shards) != document["rows"]:
        raise ValueError(f"{document['rows']!r} rows in {len(shards)} shards")
    parts = {part: map_structure(str, document.get(part)) for part in PARTS}
    shuffled = document.get("shuffled")
    return Manifest(
        fields, shards, Note(**parts, shuffled=None if shuffled is None else int(shuffled))
    )


def _damaged(path: Path, why: str) -> FileFormatError:
    return FileFormatError(f"The manifest {path} is damaged: {why}. Restore it, or pack anew.")


def _dtype_text(dtype: np.dtype[Any]) -> Any:
    return dtype.str if dtype.names is None else [[n, *_member(dtype[n])] for n in dtype.names]


def _member(dtype: np.dtype[Any]) -> list[Any]:
    base, shape = dtype.subdtype or (dtype, ())
    return [_dtype_text(base), list(shape)] if shape else [_dtype_text(base)]


def _dtype_of(text: Any) -> np.dtype[Any]:
    if isinstance(text, str):
        return np.dtype(text)
    members: list[Any] = [
        (name, _dtype_of(kind), *(tuple(size) for size in shape)) for name, kind, *shape in text
    ]
    return np.dtype(members)
