"""Folders of shards with a manifest, as `pack` writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from headrace.errors import OptionError
from headrace.formats.base import Description, Format, Location
from headrace.formats.hdf5 import HDF5, HDF5Location
from headrace.formats.mixing import Setting
from headrace.manifest import Note, check_shard, manifest_at, read_manifest
from headrace.sources import Source


class Shards(Format):
    """A folder that `pack` wrote: its files are one data set, in the order of the manifest."""

    name: ClassVar[str] = "packed shards"
    options: ClassVar[dict[str, str]] = HDF5.options

    def recognises(self, path: Path, start: bytes) -> bool:
        del start
        return manifest_at(path) is not None

    def files(self, path: str) -> list[str]:
        """The shards, each of which is there and has the size that the manifest says.

        Raises:
            MissingFileError, FileFormatError: If one is not there, or has another size.
        """
        manifest_path = manifest_at(Path(path))
        if manifest_path is None:
            return [path]
        manifest = read_manifest(manifest_path)
        found = [manifest_path.parent / shard.file for shard in manifest.shards]
        for file, shard in zip(found, manifest.shards, strict=True):
            check_shard(file, shard)
        return [str(file) for file in found]

    def open(self, path: str, **options: Any) -> Location:
        if manifest_at(Path(path)) is None:
            # One of the files.
            return HDF5().open(path, **options)
        return ShardsLocation(path, self.files(path), options)


class ShardsLocation(Location):
    """A folder of shards: their columns, which are alike in all of them."""

    format_name: ClassVar[str] = "packed shards"
    column_word: ClassVar[str] = HDF5Location.column_word

    def __init__(self, path: str, files: list[str], options: dict[str, Any]) -> None:
        super().__init__(path)
        self._files = files
        self._first = HDF5().open(files[0], **options)

    def names(self) -> list[str]:
        return self._first.names()

    def note(self) -> Note:
        return self._first.note()

    def source(self, names: Sequence[str], end: int | None = None) -> Source:
        if len(self._files) > 1:
            raise OptionError(f"{self.path!r} has {len(self._files)} files: open each by itself.")
        return self._first.source(names, end)

    def describe(self, setting: Setting, limit: int | None = None) -> Description | None:
        """The first shard, and how many there are."""
        manifest_path = manifest_at(Path(self.path))
        assert manifest_path is not None
        manifest = read_manifest(manifest_path)
        found = self._first.describe(setting, limit)
        note = f"the first of {len(self._files)} shards; {manifest.rows:,} rows in all of them"
        return found and found.about(file=self.path, note=note)
