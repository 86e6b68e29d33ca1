"""`TableLocation`: how columns of tables become fields, for every format of tables alike."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from headrace.errors import FieldNotFoundError, MissingDependencyError, OptionError
from headrace.formats.base import Location, Samples
from headrace.sources import Source
from headrace.spec import Column, Structure


class TableLocation(Location):
    """Files, or an object, as one table.

    Args:
        path: The first file, or what the object is called in messages.
        fill: The number in place of each missing one; None makes it an error.
    """

    def __init__(self, path: str, fill: Any) -> None:
        super().__init__(path)
        if fill is not None and (isinstance(fill, bool) or not isinstance(fill, (int, float))):
            raise OptionError(f"Expected fill= to be a number. Received: {fill!r}")
        self._fill = fill

    @abstractmethod
    def _open(self) -> Any:
        """The `Table`; may import pyarrow."""

    @cached_property
    def table(self) -> Any:
        """The `Table`.

        Raises:
            MissingDependencyError: If pyarrow is not installed.
        """
        try:
            return self._open()
        except ModuleNotFoundError as error:
            if error.name != "pyarrow":
                raise
            raise MissingDependencyError(
                f"Reading {self.format_name} needs pyarrow, which is not installed. Install it "
                'with: pip install "headrace[tables]"'
            ) from error

    def names(self) -> list[str]:
        return list(self.table.names)

    def column(self, name: str) -> Column:
        found: Column = self.table.column(name)
        return found

    def source(self, names: Sequence[str], end: int | None = None) -> Source:
        """As for all formats; gaps are 0 or NaN: `info` and `verify` take them for no fault."""
        del end
        encoders = []
        for name in names:
            dtype = self.table.column(name).dtype
            gap = np.nan if dtype is not None and dtype.kind == "f" else 0
            encoders.append(self.table.encoder(name, gap if self._fill is None else self._fill))
        found: Source = self.table.source(encoders)
        return found

    def samples(self, parts: tuple[Structure, Structure, Structure], end: int | None) -> Samples:
        """As for all formats, but that a list of columns of numbers is one float32 matrix."""
        del end
        encoders: dict[str, Any] = {}

        def fields(structure: Structure, part: str) -> Structure:
            if isinstance(structure, list):
                return self._matrix(structure, part, encoders)
            if isinstance(structure, tuple):
                return tuple(fields(one, f"{part}.{i}") for i, one in enumerate(structure))
            if isinstance(structure, Mapping):
                return {key: fields(one, f"{part}.{key}") for key, one in structure.items()}
            if structure is not None and structure not in encoders:
                encoders[structure] = self.table.encoder(structure, self._fill)
            return structure

        named = tuple(
            fields(p, part) for p, part in zip(parts, ("x", "y", "sample_weight"), strict=True)
        )
        return Samples(self.table.source(list(encoders.values())), named)

    def _matrix(self, columns: list[str], part: str, encoders: dict[str, Any]) -> str:
        """Makes columns one field, with the name of their part; returns the name."""
        from headrace.sources.tables import MatrixEncoder

        others = [
            f"{name!r} ({' of '.join(['vectors'] * bool(found.shape) + [found.type])})"
            for name, found in ((name, self.column(name)) for name in columns)
            if found.type not in ("number", "bool") or found.shape
        ]
        if others:
            raise OptionError(
                f"{part} would be a matrix of numbers, and of {self.table.where} these columns "
                f"hold others: {', '.join(others[:6])}{' ...' * (len(others) > 6)}. Name "
                f"columns of numbers with {part}=[...]."
            )
        name = part
        while name in self.table.names:
            name += "_"
        encoders[name] = MatrixEncoder(name, tuple(columns), np.dtype(np.float32), self._fill)
        return name

    def unnamed_x(self, taken: Sequence[str]) -> Structure:
        left = [name for name in self.table.names if name not in taken]
        if not left:
            raise FieldNotFoundError(f"Which column of {self.table.where} is x? None is left.")
        return left
