"""`Pipeline`: the parts of a data set, for other modules of this package."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.loading import Batch, Loader, View
from headrace.loading.bad_rows import check_rows
from headrace.order import BalancedSampler
from headrace.spec import Field, Indices, Spec
from headrace.transform import Collate, MapStep, collate

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Pipeline:
    """Rows of sources, the structure of a sample, map functions, and an optional sampler.

    `Dataset` is the public object; packing, statistics and the command line use its `pipeline`.

    Attributes:
        view: The rows.
        structure: The fields of a row and their places in a batch, before map functions.
        maps: The map functions in the order in which they are applied.
        sampler: Decides how often each row occurs in an epoch; None if each occurs once.
    """

    view: View
    structure: Spec
    maps: tuple[MapStep, ...] = ()
    sampler: BalancedSampler | None = None

    def __len__(self) -> int:
        """Number of samples in an epoch; `len(pipeline.view)` is the number of distinct rows."""
        return len(self.view) if self.sampler is None else self.sampler.length

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of a row, before map functions."""
        return self.structure.fields

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, before map functions."""
        return self.view.row_bytes

    def files(self) -> tuple[str, ...]:
        """The files that reading may open; writers must not replace any of them."""
        return self.view.inputs()

    def read(self, rows: Indices) -> Arrays:
        """Reads rows, in any order, into new arrays of shape `(len(rows), *field.shape)`.

        Raises:
            BadSampleError: If a row cannot be read.
        """
        if not len(rows):
            return {f.name: np.empty((0, *f.shape), f.dtype) for f in self.fields}
        arrays, stats = self.view.read_any(rows, [field.name for field in self.fields])
        check_rows(stats)
        return arrays

    def collate(self, arrays: Arrays) -> Batch:
        """Makes a batch of the arrays of some rows, and applies the map functions."""
        return collate(self.structure, self.maps, arrays)

    def loader(self, batch_size: int, collate: Any = None, **options: Any) -> Loader:
        """A loader of these samples that, unlike that of `Dataset.batch`, is no `PyDataset`.

        Args:
            batch_size: Rows in a batch.
            collate: Converts the arrays of a batch to the item that the loader yields; None makes
                batches.
            **options: Options of `Loader`.
        """
        made = Collate(self.structure, self.maps) if collate is None else collate
        return Loader(self.view, made, batch_size, sampler=self.sampler, **options)
