"""`Pipeline`: the parts of a data set, for code of this package that works on data sets."""

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
    """Rows of sources, the structure of a sample, map functions, and how often each row comes.

    `Dataset` is the object for users; packing, statistics and the command line work on its
    `pipeline`.

    Attributes:
        view: The rows.
        structure: The fields of a row and their places in a batch, before map functions.
        maps: The map functions, the first one first.
        sampler: How often each row comes in an epoch; None where each comes once.
    """

    view: View
    structure: Spec
    maps: tuple[MapStep, ...] = ()
    sampler: BalancedSampler | None = None

    def __len__(self) -> int:
        """Samples in an epoch; `len(pipeline.view)` are the rows that they come from."""
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
        """The files that reading may touch: nothing that is written takes the place of one."""
        return self.view.inputs()

    def read(self, rows: Indices) -> Arrays:
        """Reads rows, in any order, into fresh arrays of shape `(len(rows), *field.shape)`.

        Raises:
            BadSampleError: If one of them cannot be read.
        """
        if not len(rows):
            return {f.name: np.empty((0, *f.shape), f.dtype) for f in self.fields}
        arrays, stats = self.view.read_any(rows, [field.name for field in self.fields])
        check_rows(stats)
        return arrays

    def collate(self, arrays: Arrays) -> Batch:
        """The arrays of some rows as a batch, after the map functions."""
        return collate(self.structure, self.maps, arrays)

    def loader(self, batch_size: int, collate: Any = None, **options: Any) -> Loader:
        """Batches of these samples, which Keras does not know as a loader of its own.

        Args:
            batch_size: Rows in a batch.
            collate: Turns the arrays of a batch into what the loader gives; None makes batches.
            **options: As `Loader` takes them.
        """
        made = Collate(self.structure, self.maps) if collate is None else collate
        return Loader(self.view, made, batch_size, sampler=self.sampler, **options)
