"""Advice on how datasets are stored: what makes training slow, and the command that fixes it."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from headrace.errors import MemoryBudgetError, MissingDependencyError
from headrace.formats.advice import Advice
from headrace.formats.hdf5.info.fields import fields_of, read_together
from headrace.formats.hdf5.info.pack_command import Rewrite, free_name, left_behind
from headrace.formats.hdf5.info.unwritten import written_end
from headrace.formats.mixing import (
    Setting,
    decoded_again,
    memory_that_mixes,
    mixes_anyway,
    mixes_well,
    mixing,
)
from headrace.formats.roles import assign
from headrace.loading.budget import REPEATED, RESIDENT
from headrace.resources import format_bytes, memory_limit
from headrace.sources import ReadPath
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.storage import Storage
from headrace.sources.hdf5.survey import Survey
from headrace.writing import ENCODERS

WORTH_BYTES = 64_000_000
"""Bytes: smaller datasets load within about a second in any way, and then stay in memory."""

SMALL_CHUNK = 64 << 10
"""Bytes: decoding so much gzip takes about 0.08 ms, of which a fifth is what every chunk costs."""

MANY_CHUNKS = 20_000
"""Fewer small chunks than this cost less than half a second a pass."""

CHUNK_SECONDS = 20e-6
"""The fixed cost of a chunk: looking it up, a system call, starting the decoder."""

GOOD_CHUNK = 1 << 20
"""Bytes of a good chunk: the fixed cost of a chunk no longer counts, and a window holds many."""

LARGE_CHUNK = 1 << 27
"""Bytes: some larger chunks are read through libhdf5, whatever filters they have."""

MANY_PIECES = 4
"""A compressed sample in fewer chunks than this is hardly slower than one in a single chunk."""

USELESS_RATIO = 0.95
"""Bytes stored for each decoded: filters that save less are not worth their time."""

NEARLY = 0.05
"""Datasets whose lengths differ by at most this share were probably meant to have one length."""

_RECHUNKED = {"cut-samples", "small-chunks", "large-chunks", "uneven-chunks"}


class Item(NamedTuple):
    """A dataset that can be used."""

    name: str
    storage: Storage
    source: HDF5Source
    written_end: int | None

    @property
    def rows(self) -> int:
        """Rows of a chunk; 1 where there are no chunks."""
        return self.storage.chunk_shape[0] if self.storage.chunk_shape else 1

    @property
    def nbytes(self) -> int:
        """Bytes once it is decoded."""
        return self.storage.decoded_bytes or 0

    @property
    def written(self) -> int:
        """Chunks that are there."""
        return self.storage.written or 0

    @property
    def in_blocks(self) -> bool:
        """Whether whole chunks have to be read to get one row."""
        return self.storage.chunk_shape is not None and not self.source.addressable([self.name])

    @property
    def path(self) -> ReadPath:
        """How it is read."""
        return self.source.read_paths()[self.name]


def advise(path: str, survey: Survey, setting: Setting) -> list[Advice]:
    """Advice on storage that costs time, memory or a good shuffle.

    Args:
        path: The file, as it is to be named in commands.
        survey: What is in it.
        setting: The memory and batch size that the advice is for.
    """
    rules = _Rules(survey, setting)
    found = [*_missing_filters(survey), *rules.advice(path)]
    targets: list[str] = []
    for rewrite in rules.rewrites():
        targets.append(free_name(path, "packed", targets))
        roles = assign({n: rules.fields[n] for n in rewrite.names if n in rules.fields})
        language, command = rewrite.command(path, targets[-1], roles)
        numbers = [
            number
            for number, advice in enumerate(found)
            if advice.columns[0] in rewrite.names
            if advice.kind in rules.mended.get(advice.columns[0], ())
        ]
        for number in numbers:
            text = found[number].text + left_behind(survey, rewrite) * (number == numbers[-1])
            found[number] = replace(found[number], text=text, language=language, command=command)
    return found


def _missing_filters(survey: Survey) -> Iterator[Advice]:
    """Filters that are not installed; the error names the package that has them."""
    for item in survey.datasets():
        if isinstance(item.error, MissingDependencyError):
            said = item.said(survey.path)
            package = re.search(r"'(pip install [\w -]+)'", said)
            command = package[1] if package else ""
            language = "shell" if command else ""
            yield Advice("missing-filter", (item.name,), f"It {said}", language, command)


class _Rules:
    """The rules, and the datasets of one file that they are applied to.

    Attributes:
        fields: Those that a model may take.
        mended: For each dataset, the kinds of advice given so far that packing fixes.
    """

    def __init__(self, survey: Survey, setting: Setting) -> None:
        self._path = survey.path
        self.fields = fields_of(survey.datasets())
        self._setting = setting
        self._longer: dict[str, tuple[list[str], int]] = {}
        self._items = [
            Item(item.name, item.storage, item.source, written_end(item))
            for item in survey.datasets()
            if item.storage and item.source and item.storage.row_bytes and not item.error
        ]
        self.mended: dict[str, set[str]] = {}

    def advice(self, path: str) -> Iterator[Advice]:
        """All advice; what packing fixes gets its command later."""
        if os.environ.get("HEADRACE_HDF5") == "h5py":
            text = "HEADRACE_HDF5=h5py is set, so that all data go through h5py, on one core."
            names = tuple(item.name for item in self._items)
            yield Advice("slow-path", names, text, "shell", "unset HEADRACE_HDF5")
            return
        for item in self._items:
            useless = self._useless_filters(item)
            if useless:
                # Without them it is stored in one piece, whatever else there is to say of it.
                yield self._mended("useless-filters", item, useless)
                continue
            texts = {
                "slow-path": self._slow_path(item),
                "cut-samples": self._cut_samples(item),
                "small-chunks": self._small_chunks(item),
                "uneven-chunks": self._uneven_chunks(item),
            }
            for kind, text in texts.items():
                if text:
                    yield self._mended(kind, item, text)
            yield from self._large_chunks(item, path)
            yield from self._unequal_lengths(item, path)

    def _mended(self, kind: str, item: Item, text: str) -> Advice:
        """Advice that packing fixes."""
        self.mended.setdefault(item.name, set()).add(kind)
        return Advice(kind, (item.name,), text)

    # The rules: each returns its text, or "" if there is nothing to say.

    def _slow_path(self, item: Item) -> str:
        storage = item.storage
        # Datasets that stay in memory are read through h5py only once.
        worth = min(WORTH_BYTES, self._setting.memory // RESIDENT)
        if item.path.path != "h5py" or item.nbytes < worth or not storage.mostly_written:
            return ""
        better = "Stored in a type of NumPy's own, it is read directly."
        if self._compression(item):
            smaller = ", in smaller chunks" if _is_large(storage) else ""
            better = f"Stored with gzip{smaller}, it is decoded on all cores."
        elif storage.layout == "virtual":
            better = "Copied into one file, its rows are read by their addresses."
        return f"Goes through h5py, on one core: {item.path.reason}. {better}"

    def _useless_filters(self, item: Item) -> str:
        storage, ratio = item.storage, item.storage.ratio or 0
        written = item.written * storage.chunk_bytes
        # A checksum is not there to save room.
        if not storage.filters or "fletcher32" in storage.filters or written < WORTH_BYTES:
            return ""
        if ratio <= USELESS_RATIO:
            return ""
        return (
            f"{' + '.join(storage.filters)} leaves {ratio:.0%} of {format_bytes(written)}, so it "
            "saves next to nothing, and all of it is decoded in every epoch. Without it, single "
            "rows are read by their addresses, and shuffle=True is a uniform permutation."
        )

    def _cut_samples(self, item: Item) -> str:
        storage = item.storage
        pieces = storage.pieces
        if pieces < 2 or not item.in_blocks or item.nbytes < WORTH_BYTES:
            return ""
        sample = f"each sample ({format_bytes(storage.row_bytes)}) lies in {pieces:,} chunks"
        if not storage.filters:
            return (
                f"Chunks of {storage.chunk_shape} cut through samples: {sample}. Stored in one "
                "piece, any row is read by its address, and shuffle=True is a uniform permutation."
            )
        if pieces < MANY_PIECES or item.rows == 1:
            return ""
        block = format_bytes(item.rows * storage.row_bytes)
        return (
            f"Chunks of {storage.chunk_shape} cut through samples: {sample}, and {item.rows:,} "
            f"samples ({block}) are decoded to get one. Chunks of whole samples make smaller "
            "blocks, which mix better and are faster to look into."
        )

    def _small_chunks(self, item: Item) -> str:
        storage = item.storage
        if not self._is_small(item):
            return ""
        main = self._largest_beside(item)
        if main and main.rows == item.rows and not self._is_small(main):
            # Both have blocks of the same rows, so the small chunks are no extra cost.
            return ""
        return (
            f"{item.written:,} chunks hold {format_bytes(storage.chunk_bytes)} each. A chunk "
            f"costs about {CHUNK_SECONDS * 1000:g} ms besides its bytes: "
            f"{item.written * CHUNK_SECONDS:.1f} s of one core to read them once. "
            f"{self._good(item)} next to nothing."
        )

    def _is_small(self, item: Item) -> bool:
        storage = item.storage
        small = storage.chunk_bytes < SMALL_CHUNK and item.written >= MANY_CHUNKS
        return small and item.in_blocks and self._good_rows(item) >= 2 * item.rows

    def _good(self, item: Item) -> str:
        rows = self._good_rows(item)
        size = format_bytes(rows * item.storage.row_bytes)
        return f"Chunks of {rows:,} sample{'s' * (rows > 1)} ({size}) cost"

    def _uneven_chunks(self, item: Item) -> str:
        main = self._largest_beside(item)
        if main is None:
            return ""
        names = [main.name, item.name]
        again = decoded_again(HDF5Source(self._path, names), names, self._setting)
        if again <= REPEATED:
            return ""
        return (
            f"Its chunks of {item.rows:,} rows do not fit those of {main.name} ({main.rows:,} "
            f"rows): where both are read, {again:.0%} is decoded more than once in each epoch."
        )

    def _unequal_lengths(self, item: Item, path: str) -> Iterator[Advice]:
        folder = item.name.rpartition("/")[0]
        beside = [i for i in self._items if i.name.rpartition("/")[0] == folder and i != item]
        length = item.storage.length
        shorter = [i for i in beside if i.storage.length < length]
        if not shorter or any(i.storage.length == length for i in beside):
            return
        rows = max(i.storage.length for i in shorter)
        if length > rows * (1 + NEARLY):
            return
        others = [i.name for i in shorter if i.storage.length == rows]
        text = (
            f"It has {length:,} rows and {others[0]} {rows:,}: fields of one data set need the "
            f"same number. If the first {rows:,} belong together, end={rows} leaves the others out."
        )
        self._longer[item.name] = others, rows
        call = read_together(path, [item.name, *others], self.fields, rows)
        yield Advice("unequal-lengths", (item.name,), text, "python", call)

    def _large_chunks(self, item: Item, path: str) -> Iterator[Advice]:
        storage, setting = item.storage, self._setting
        block = item.rows * storage.row_bytes
        if mixes_anyway(block, setting) or not item.in_blocks or not storage.mostly_written:
            return
        text = f"Blocks of {item.rows:,} row{'s' * (item.rows > 1)} take {format_bytes(block)} each"
        memory = format_bytes(setting.memory)
        try:
            shuffle = mixing(item.source, item.name, setting)
        except MemoryBudgetError:
            text += f", and {memory} of memory cannot hold two of them beside the batches."
        else:
            # Blocks of one row shuffle exactly.
            if shuffle is None or mixes_well(shuffle, setting) or item.rows == 1:
                return
            text += (
                f": {memory} of memory holds and mixes {shuffle.blocks_per_window} of them for "
                f"batches of {setting.batch_size}. If neighbouring rows are alike, a batch "
                f"statistic varies up to {shuffle.variance_bound:.1f} times as much as under a "
                "uniform shuffle."
            )
        enough = memory_that_mixes(item.source, item.name, setting)
        more = f"memory='{format_bytes(enough)}'"
        rows = self._good_rows(item)
        blocks = self._setting.window_bytes // (rows * item.storage.row_bytes)
        well = blocks >= self._setting.enough_blocks
        if rows * (2 if well else 4) <= item.rows:
            how = "well" if well else f"better, about {blocks} of them"
            also = f"; with {more} those that there are mix well" if enough < memory_limit() else ""
            text += f" Chunks of {rows:,} row{'s' * (rows > 1)} mix {how}{also}."
            yield self._mended("large-chunks", item, text)
        else:
            given = f"x={item.name!r}).batch({setting.batch_size}, shuffle=True, memory={enough})"
            command = f"hr.from_hdf5({path!r}, {given}"
            text += f" With {more} they mix well."
            yield Advice("large-chunks", (item.name,), text, "python", command)

    # How to store the datasets instead.

    def rewrites(self) -> list[Rewrite]:
        """How to store the datasets that gain by packing, with those that belong to them."""
        done: dict[str, Rewrite] = {}
        # Longer ones first: they may go together with some that are a little shorter.
        for item in sorted(self._items, key=lambda item: -item.storage.length):
            if item.name not in self.mended or item.name in done:
                continue
            items = self._together(item)
            names = tuple(item.name for item in items)
            end = min(item.written_end or item.storage.length for item in items)
            cut = None if end == max(item.storage.length for item in items) else end
            main = max(items, key=lambda item: item.storage.row_bytes)
            compression = self._compression(main)
            chunk = compression and self._rows(main) * main.storage.row_bytes
            done |= dict.fromkeys(names, Rewrite(names, compression, chunk or None, cut))
        return list(dict.fromkeys(done[item.name] for item in self._items if item.name in done))

    def _together(self, item: Item) -> list[Item]:
        """The datasets that belong in one file with a given one."""
        items = [other for other in self._items if other.storage.length == item.storage.length]
        leaves = Counter(other.name.rpartition("/")[2] for other in items)
        if any(number > 1 for number in leaves.values()):
            # Such as those for training and those for validation.
            folder = item.name.rpartition("/")[0]
            items = [other for other in items if other.name.rpartition("/")[0] == folder]
        longer = {name for one in items for name in self._longer.get(one.name, ([], 0))[0]}
        return [other for other in self._items if other in items or other.name in longer]

    def _compression(self, main: Item) -> str | None:
        """The compression of the largest dataset; gzip if `pack` does not have it."""
        storage = main.storage
        if not storage.filters or (storage.ratio or 0) > USELESS_RATIO:
            return None
        return next((name for name in storage.filters if name in ENCODERS), "gzip")

    def _rows(self, main: Item) -> int:
        """Rows of a chunk in the new file: as now, unless advice says otherwise."""
        storage, kinds = main.storage, self.mended.get(main.name, set())
        if kinds & _RECHUNKED or storage.pieces > 1 or _is_large(storage):
            return self._good_rows(main)
        return main.rows

    def _good_rows(self, item: Item) -> int:
        """Rows of a good chunk: few enough to mix well, enough to read fast."""
        # A window then holds twice the blocks that it needs, which leaves some room.
        for_one = self._setting.window_bytes // (2 * self._setting.enough_blocks)
        size = min(GOOD_CHUNK, max(for_one, SMALL_CHUNK))
        rows = max(1, size // item.storage.row_bytes)
        return min(1 << rows.bit_length() - 1, item.storage.length)

    def _largest_beside(self, item: Item) -> Item | None:
        """The largest other field of the same length, whose chunks decide what is read together.

        None for a field that is loaded once and then stays in memory, whatever the others do.
        """
        memory = self._setting.memory
        if not item.in_blocks or item.nbytes <= memory // RESIDENT:
            return None
        length, row_bytes = item.storage.length, item.storage.row_bytes
        others = [
            other
            for other in self._items
            if other.in_blocks
            and other.storage.length == length
            and other.storage.row_bytes > row_bytes
        ]
        main = max(others, key=lambda other: other.storage.row_bytes, default=None)
        return main if main and main.nbytes + item.nbytes > memory else None


def _is_large(storage: Storage) -> bool:
    return storage.chunk_bytes > LARGE_CHUNK
