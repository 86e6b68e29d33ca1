"""A uniform random shuffle of rows that do not fit in memory, in two passes through scratch files.

The positions of the new order are divided into stretches that fit in memory. The first pass reads
the rows in the order of the data, and writes each row to its stretch of a scratch file. The second
pass reads one stretch after the other, and yields its rows in their final order. Both passes read
and write long runs. The algorithm is Sanders, "Random Permutations on Distributed, External and
Hierarchical Memory", 1998, with a keyed permutation in place of drawn numbers, so that nothing has
to be stored for each row.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import LossError
from headrace.loading import Loader, SourceRows, View
from headrace.loading.budget import INDEX_BYTES, share
from headrace.order import Order, Permutation, Span, Window
from headrace.packing.encoding import (
    SORTED,
    EncodedRows,
    Prepare,
    Resources,
    encode,
    permutation_of,
)
from headrace.packing.plan import PackPlan
from headrace.progress import Advance
from headrace.sources import ReadPath
from headrace.sources.arrays import npy
from headrace.sources.arrays.rows import RowSource
from headrace.sources.zipped import Member, ZipSource
from headrace.spec import Field
from headrace.staging import sync_all, write_errors
from headrace.writing.direct import write_at
from headrace.writing.flushing import FileFlusher

Array = npt.NDArray[Any]

_DONE = "done"
_READ = ReadPath("direct rows", "a scratch file")


class StretchOrder(Order):
    """Reads stretches one after the other, and yields the rows of each in their final order.

    Within a stretch, the scratch file has the rows in the order of the data.

    Args:
        permutation: The row of the data at each position.
        stretch: Rows in a stretch.
    """

    def __init__(self, permutation: Permutation, stretch: int) -> None:
        n = permutation.n
        self.starts = np.append(np.arange(0, n, stretch), n)
        self._permutation = permutation

    def window(self, index: int) -> Window:
        start, stop = self.starts[index : index + 2].tolist()
        rows = self._permutation(np.arange(start, stop))
        order = np.empty(len(rows), np.int64)
        order[np.argsort(rows)] = np.arange(len(rows))
        return Window(start, np.array([[start, stop]]), order)


class Scratch:
    """The scratch files of a shuffle, one for each field.

    Args:
        plan: The plan of the pack.
        folder: The folder of the files.
        target: The output, for errors.
        resources: Memory and threads of each pass.
    """

    def __init__(self, plan: PackPlan, folder: Path, target: Path, resources: Resources) -> None:
        self._plan = plan
        self._folder = folder / "scratch"
        self._target = target
        self._memory, self._workers = resources.memory, resources.workers
        self._permutation = permutation_of(plan)
        self._stretch = self._room()
        self._first = self._first_loader()

    def _room(self) -> int:
        """Rows in a stretch: a loader can hold two stretches besides its batches."""
        plan = self._plan
        fields = [_Zeros(f.name, (plan.rows, *f.shape), f.dtype, _READ) for f in plan.fields]
        members = [Member(source, {f.name: f.name}) for source in fields for f in source.fields]
        view = View(
            (SourceRows(ZipSource(members), Span(0, plan.rows)),),
            tuple(f.name for f in plan.fields),
        )
        budget = share(view, plan.piece_rows, self._memory, self._workers, False, keep=False)
        return min(max(1, budget.capacity), plan.rows)

    def _first_loader(self) -> Loader:
        """Reads all rows in the order of the data, in batches that are sorted at once."""
        plan = self._plan
        source_bytes = max(plan.pipeline.row_bytes, plan.row_bytes)
        rows = max(1, self._memory // SORTED // (source_bytes + INDEX_BYTES))
        return plan.pipeline.loader(
            min(rows, plan.rows),
            Prepare(plan),
            # The rest is for sorting.
            memory=max(1, self._memory - self._memory // SORTED),
            workers=self._workers,
            keep=False,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the files."""
        return self._plan.rows * self._plan.row_bytes

    @property
    def complete(self) -> bool:
        """Whether the first pass is complete, from this process or an earlier one."""
        done = self._folder / _DONE
        return done.is_file() and done.read_text() == str(self._stretch)

    def fill(self, advance: Advance) -> None:
        """The first pass: writes each row to its stretch."""
        plan = self._plan
        with write_errors(self._target):
            self._folder.mkdir(exist_ok=True)
            (self._folder / _DONE).unlink(missing_ok=True)
            files = _Stretches(self._target, self._paths(), plan.fields, self._stretch_offsets())
        with files:
            place = 0
            try:
                for values in self._first:
                    count = len(next(iter(values.values())))
                    places = self._permutation.inverse(np.arange(place, place + count))
                    with write_errors(self._target):
                        files.put(places, values)
                    place += count
                    advance(count * plan.row_bytes)
            except LossError as error:
                raise LossError(place + error.row, error.text) from error
        if plan.shard_rows is not None:
            # A process that resumes packing into shards reuses this pass.
            with write_errors(self._target):
                sync_all(self._folder)
                (self._folder / _DONE).write_text(str(self._stretch))

    def pieces(self, first: int) -> Iterator[EncodedRows]:
        """The second pass, from row `first` of the new order on, a multiple of a piece's rows."""
        plan = self._plan
        loader = Loader(
            self._view(),
            lambda values: encode(plan, values),
            plan.piece_rows,
            memory=self._memory,
            workers=self._workers,
            keep=False,
            order=StretchOrder(self._permutation, self._stretch),
        )
        loader.go_to(0, first // plan.piece_rows)
        return iter(loader)

    def _stretch_offsets(self) -> npt.NDArray[np.int64]:
        return StretchOrder(self._permutation, self._stretch).starts

    def _paths(self) -> dict[str, Path]:
        """A numbered file for each field, since a field's name may be no valid file name."""
        names = (field.name for field in self._plan.fields)
        return {name: self._folder / f"{number}.raw" for number, name in enumerate(names)}

    def _view(self) -> View:
        members = []
        paths = self._paths()
        for field in self._plan.fields:
            path = str(paths[field.name])
            shape = (self._plan.rows, *field.shape)
            place = npy.ArrayLocation(path, 0, shape, field.dtype, False, path)
            members.append(Member(npy.source_at(field.name, place), {field.name: field.name}))
        source = ZipSource(members)
        return View((SourceRows(source, Span(0, source.length)),), tuple(paths))


class _Zeros(RowSource):
    """A field of a scratch file that does not exist yet, to compute the size of stretches."""

    def files(self) -> tuple[str, ...]:
        return ()

    def _take(self, rows: npt.NDArray[np.int64], out: Array) -> None:  # noqa: ARG002
        out[:] = np.zeros((), out.dtype)


class _Stretches:
    """The files of the first pass, with the next position in each stretch."""

    def __init__(
        self,
        target: Path,
        paths: Mapping[str, Path],
        fields: tuple[Field, ...],
        offsets: npt.NDArray[np.int64],
    ) -> None:
        self._target = target
        self._fields = fields
        self._stretch_offsets = offsets
        self._next = offsets[:-1].copy()
        self._files: dict[str, FileIO] = {}
        self._flushers: dict[str, FileFlusher] = {}
        with ExitStack() as ends:
            for name, path in paths.items():
                self._files[name] = ends.enter_context(path.open("w+b", buffering=0))
                self._flushers[name] = FileFlusher(path)
                ends.callback(self._flushers[name].close)
            self._ends = ends.pop_all()

    def __enter__(self) -> "_Stretches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # An error of the body takes precedence over an error of closing.
        with write_errors(self._target) if error is None else suppress(OSError):
            self._ends.close()

    def put(self, places: npt.NDArray[np.int64], values: Mapping[str, Array]) -> None:
        """Writes each row to the stretch of its position in the new order."""
        stretch = np.searchsorted(self._stretch_offsets, places, side="right") - 1
        order = np.argsort(stretch, kind="stable")
        numbers, starts = np.unique(stretch[order], return_index=True)
        stops = np.append(starts[1:], len(order))
        for field in self._fields:
            grouped = np.take(values[field.name], order, axis=0)
            for number, start, stop in zip(numbers, starts, stops, strict=True):
                place = int(self._next[number]) * field.nbytes
                write_at(self._files[field.name].fileno(), grouped[start:stop], place)
            self._flushers[field.name].note(grouped.nbytes)
        self._next[numbers] += stops - starts
