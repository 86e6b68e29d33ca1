"""Where pieces are written: one file (`FileTarget`) or the shards of a folder (`FolderTarget`)."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace.errors import FileFormatError, MissingFileError, StateError
from headrace.manifest import (
    ATTRIBUTE,
    CHECKSUMS,
    Manifest,
    Shard,
    check_shard,
    find_manifest,
    write_manifest,
)
from headrace.packing.encoding import EncodedRows
from headrace.packing.journal import Progress, read_progress
from headrace.packing.plan import PackPlan
from headrace.staging import Staging, sync
from headrace.writing import FileWriter
from headrace.writing.direct import Digest
from headrace.writing.hdf5 import set_attributes

Array = npt.NDArray[Any]

_SHARD = "shard-{:05}.h5"


class PackTarget(Protocol):
    """Writes pieces, in order."""

    done: int
    """Rows that are written already."""

    def put(self, piece: EncodedRows) -> None:
        """Writes the next piece."""

    def finish(self) -> None:
        """Completes the output in the staging folder."""


def output_of(plan: PackPlan, staging: Staging, buffer: int) -> "FileTarget | FolderTarget":
    """The target for the pieces of a plan, with `buffer` bytes of write buffers."""
    kind = FileTarget if plan.shard_rows is None else FolderTarget
    return kind(plan, staging, buffer)


class _Closing:
    """Closes the open file at the end of a `with` statement."""

    _writer: FileWriter | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # An error of the body takes precedence over an error of closing.
        with suppress(OSError) if error is not None else nullcontext():
            self._close()

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class FileTarget(_Closing):
    """A file."""

    def __init__(self, plan: PackPlan, staging: Staging, buffer: int) -> None:
        self._plan = plan
        self._buffer = buffer
        self._path = staging.path
        self.done = 0
        self._checksums: dict[str, list[Array]] = {field.name: [] for field in plan.fields}

    def __enter__(self) -> "FileTarget":
        return self

    def put(self, piece: EncodedRows) -> None:
        """Writes the next piece."""
        if self._writer is None:
            plan = self._plan
            self._writer = FileWriter(
                self._path, plan.fields, plan.rows, plan.storage, buffer=self._buffer
            )
        self._writer.put(self.done, piece.encoded)
        for name, checksum in piece.checksums.items():
            self._checksums[name].append(checksum)
        self.done += self._plan.piece_rows

    def finish(self) -> None:
        """Writes structure, order and checksums to the attributes of the file."""
        self._close()
        notes = self._plan.notes()
        note = self._plan.note(
            checksum_rows=self._plan.piece_rows,
            attributes={
                name: {key: value.checksum for key, value in some.items()}
                for name, some in notes.items()
            },
        )
        for name, parts in self._checksums.items():
            notes.setdefault(name, {})[CHECKSUMS] = np.concatenate(parts)
        notes["/"][ATTRIBUTE] = note.to_json().encode()
        set_attributes(self._path, notes)


class FolderTarget(_Closing):
    """Shards, and the manifest that names them.

    A shard is moved to its place and recorded once it is on the disk and its SHA-256 is known.
    """

    def __init__(self, plan: PackPlan, staging: Staging, buffer: int) -> None:
        self._plan = plan
        self._buffer = buffer
        assert plan.shard_rows is not None
        self._rows = plan.shard_rows
        self._staging = staging
        self._folder = staging.path
        self._part = staging.folder / "part.h5"
        self._folder.mkdir(exist_ok=True)
        self._shards = self._left()
        self._remove_others()
        self._note()
        self.done = sum(shard.rows for shard in self._shards)
        self._within = 0
        self._sealing: Future[Shard] | None = None
        self._threads = ThreadPoolExecutor(1, "headrace-seal")

    def _remove_others(self) -> None:
        """Removes all files but the shards that are kept, such as an old manifest."""
        kept = {shard.file for shard in self._shards}
        for item in self._folder.iterdir():
            if item.name not in kept:
                item.unlink()

    def __enter__(self) -> "FolderTarget":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, _)
            with suppress(OSError) if error is not None else nullcontext():
                self._collect()
        finally:
            self._threads.shutdown()

    def put(self, piece: EncodedRows) -> None:
        """Writes the next piece, to a new shard if the current one is full."""
        if self._writer is None:
            rows = min(self._rows, self._plan.rows - self.done)
            # The previous shard may still be being flushed and hashed.
            self._part = self._part.with_name(f"part-{self.done // self._rows % 2}.h5")
            notes = self._plan.notes()
            notes["/"][ATTRIBUTE] = self._plan.note().to_json().encode()
            self._digest = Digest()
            self._writer = FileWriter(
                self._part,
                self._plan.fields,
                rows,
                self._plan.storage,
                buffer=self._buffer,
                notes=notes,
                digest=self._digest,
            )
            self._within = 0
        self._writer.put(self._within, piece.encoded)
        self._within += self._plan.piece_rows
        self.done += self._plan.piece_rows
        if self._within >= self._rows or self.done >= self._plan.rows:
            self._end_shard()

    def _end_shard(self) -> None:
        self._close()
        # The previous shard was flushed and hashed while this one was written.
        self._collect()
        number = len(self._shards)
        rows = min(self._rows, self._plan.rows - number * self._rows)
        self._sealing = self._threads.submit(self._seal, self._part, self._digest, number, rows)

    def _seal(self, part: Path, digest: Digest, number: int, rows: int) -> Shard:
        sync(part)
        digest.read(part, self._buffer)
        name = _SHARD.format(number)
        part.replace(self._folder / name)
        sync(self._folder)
        return Shard(name, rows, digest.place, str(digest))

    def _collect(self) -> None:
        if self._sealing is not None:
            self._shards.append(self._sealing.result())
            self._sealing = None
            self._note()
            self._staging.keep = True

    def finish(self) -> None:
        """Writes the manifest."""
        self._collect()
        manifest = Manifest(self._plan.fields, tuple(self._shards), self._plan.note())
        write_manifest(self._folder, manifest)

    def _note(self) -> None:
        """Writes the journal, for a process that resumes."""
        Progress(self._plan.description, tuple(self._shards)).write(self._staging.folder)

    def _left(self) -> list[Shard]:
        """The shards of an earlier process with the same plan."""
        left = _progress(self._plan, self._staging)
        if left is None:
            return []
        plan = self._plan.description
        differ = [name for name, value in plan.items() if left.plan.get(name) != value]
        if differ:
            raise StateError(
                f"What was left of packing {self._staging.target.name} cannot be resumed: it "
                f"was made with other {', '.join(differ)}. Pack with the same arguments, or start "
                "again without resume."
            )
        manifest = find_manifest(self._folder)
        if manifest is not None and manifest.shards != left.shards:
            # The target still has the old data: the shards were not published.
            return []
        return list(takewhile(self._is_there, left.shards))

    def _is_there(self, shard: Shard) -> bool:
        try:
            check_shard(self._folder / shard.file, shard)
        except (MissingFileError, FileFormatError):
            return False
        return True


def is_published(plan: PackPlan, staging: Staging) -> bool:
    """Whether an earlier process ended after it had published its shards."""
    left, manifest = _progress(plan, staging), find_manifest(staging.target)
    return (
        left is not None
        and manifest is not None
        and left.plan == plan.description
        and manifest.rows == plan.rows
        and manifest.shards == left.shards
    )


def _progress(plan: PackPlan, staging: Staging) -> Progress | None:
    """The journal of an earlier process, if it can be compared with a plan.

    Raises:
        StateError: If it is damaged, or map functions cannot be compared.
    """
    left = read_progress(staging.folder)
    if left is not None:
        plan.functions()
    return left
