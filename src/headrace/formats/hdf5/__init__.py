"""HDF5 as a format: how its files are recognised, opened and described."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from headrace.errors import FieldNotFoundError, OptionError
from headrace.formats.base import Description, Format, Location
from headrace.formats.mixing import Setting
from headrace.manifest import ATTRIBUTE, CHECKSUMS, Note
from headrace.sources import Source
from headrace.sources.signatures import hdf5_offset


class HDF5(Format):
    """All files that h5py reads."""

    name: ClassVar[str] = "HDF5"
    reader: ClassVar[str] = "hr.from_hdf5"
    options: ClassVar[dict[str, str]] = {
        "allow_external": "true lets a file keep data in files anywhere, for files that you trust"
    }

    def recognises(self, path: Path, start: bytes) -> bool:
        return bool(start) and hdf5_offset(path, start) is not None

    def open(self, path: str, **options: Any) -> Location:
        return HDF5Location(path, **options)


class HDF5Location(Location):
    """One file; it is opened when it is asked for something."""

    format_name: ClassVar[str] = "HDF5"
    column_word: ClassVar[str] = "dataset"

    def __init__(self, path: str, *, allow_external: bool = False) -> None:
        from headrace.sources.hdf5 import path_of

        if not isinstance(allow_external, bool):
            raise OptionError(
                f"Expected allow_external to be True or False. Received: {allow_external!r}"
            )
        self._named = path
        super().__init__(path_of(path))
        self._allow_external = allow_external

    def names(self) -> list[str]:
        from headrace.sources.hdf5 import list_datasets

        return list_datasets(self.path)

    def source(self, names: Sequence[str], end: int | None = None) -> Source:
        from headrace.sources.hdf5 import HDF5Source

        return HDF5Source(self.path, names, end=end, allow_external=self._allow_external)

    def note(self) -> Note:
        from headrace.sources.hdf5 import read_note

        return Note.from_json(read_note(self.path, ATTRIBUTE) or "") or Note()

    def checksums(self, name: str) -> Any:
        from headrace.sources.hdf5 import read_numbers

        return read_numbers(self.path, name, CHECKSUMS)

    def check_unnamed_x(self, name: str) -> None:
        from headrace.sources.hdf5.marks import axes_reversed

        if axes_reversed(self.path, name):
            raise FieldNotFoundError(
                f"{name!r} in {self.path!r} is an array of MATLAB, which stores axes in reverse: "
                "its samples are likely the last axis. `headrace info` prints code that reads them "
                f"so; x={name!r} takes the first axis."
            )

    def describe(self, setting: Setting, limit: int | None = None) -> Description:
        """The tree of groups and datasets, and all advice on them."""
        from headrace.formats.hdf5.info import describe

        return describe(self._named, setting, limit)
