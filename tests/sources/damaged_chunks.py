"""Gives damaged chunks to every decoder, in a process of its own: one of them might crash.

`python -m tests.sources.damaged_chunks FILE ROUNDS` fails if a decoder writes beyond its result,
takes much memory, raises anything but a ChunkError, or gives other values than libhdf5.
"""

import resource
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - libhdf5 gets its filters
import numpy as np

from headrace.sources.hdf5.filters.common import ChunkError
from headrace.sources.hdf5.filters.names import filters_of
from headrace.sources.hdf5.filters.pipeline import FilterPipeline
from tests.files import FILTERS, can_szip, create, encoded, images

STACKS = [
    *((name,) for name in FILTERS),
    ("shuffle", "lz4"),
    ("lzf", "gzip"),
    ("zstd", "shuffle", "blosc"),
    ("gzip", "fletcher32"),
    ("fletcher32", "lzf"),
    ("lz4 in blocks", "bitshuffle + zstd"),
    ("blosc2", "zstd"),
]
CHUNKS = [
    images(8, dtype="u2"),
    images(8, (40, 9, 3), dtype="u1"),
    np.zeros((8, 4, 4, 3), "f4"),
]
GUARD = 64
MORE_MEMORY = 64 << 20
SIZES = (0, 1, 12, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63)


class Decoder:
    """A pipeline with a guarded result, and the same dataset for libhdf5."""

    def __init__(self, stack, values):
        self.filters = [FILTERS[name] for name in stack]
        self.values = values
        raw, self.mask = encoded(values, self.filters)
        self.raw = np.frombuffer(raw, np.uint8)
        with h5py.File("memory", "w", driver="core", backing_store=False) as file:
            made = create(file, "x", values, chunks=values.shape, filters=self.filters)
            self.pipeline = FilterPipeline(filters_of(made.id.get_create_plist()), values.nbytes)
        self.guarded = np.full(values.nbytes + 2 * GUARD, 0xA5, np.uint8)
        assert self.decode(self.raw) == values.tobytes()

    def decode(self, raw):
        """The decoded bytes; None if the chunk is refused."""
        out = self.guarded[GUARD:-GUARD]
        out[:] = 0x5A
        try:
            self.pipeline.decode(raw.copy(), self.mask, out)
        except ChunkError:
            return None
        finally:
            assert (self.guarded[:GUARD] == 0xA5).all(), "wrote in front of the result"
            assert (self.guarded[-GUARD:] == 0xA5).all(), "wrote behind the result"
        return out.tobytes()

    def by_libhdf5(self, raw, path):
        """The same, by libhdf5."""
        with h5py.File(path, "w") as file:
            made = create(file, "x", self.values, chunks=self.values.shape, filters=self.filters)
            made.id.write_direct_chunk((0,) * made.ndim, raw.tobytes(), self.mask)
        with h5py.File(path, "r") as file:
            try:
                return file["x"][()].tobytes()
            except OSError:
                return None


def mutated(raw, rng):
    """`raw` with flipped bits, cut off, longer, or with other numbers in it; or something else."""
    raw = raw.copy()
    match rng.integers(6):
        case 0:
            raw[rng.integers(0, raw.size, 3)] ^= rng.integers(1, 256, 3, np.uint8)
        case 1:
            raw = raw[: rng.integers(raw.size)]
        case 2:
            raw = np.append(raw, rng.integers(0, 256, rng.integers(1, 50), np.uint8))
        case 3:
            where = rng.integers(0, min(raw.size, 120), 3)
            raw[where] = rng.choice([0, 1, 16, 127, 128, 254, 255], 3)
        case 4:
            number = SIZES[rng.integers(len(SIZES))].to_bytes(8, rng.choice(["little", "big"]))
            part = np.frombuffer(number, np.uint8)[rng.choice([0, 4]) :]
            target = raw[rng.integers(min(raw.size, 150)) :][: part.size]
            target[:] = part[: target.size]
        case 5:
            raw = rng.integers(0, 256, rng.integers(300), np.uint8)
    return raw


def limit_memory():
    """Lets this process take a little more memory than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(path, rounds):
    decoders = [
        (stack, Decoder(stack, values))
        for stack in STACKS
        if can_szip() or not any("szip" in name for name in stack)
        for values in CHUNKS
    ]
    if sys.platform == "linux":
        limit_memory()
    refused = 0
    for stack, decoder in decoders:
        say(*stack, decoder.values.dtype)
        rng = np.random.default_rng(rounds)
        for _ in range(rounds):
            raw = mutated(decoder.raw, rng)
            found = decoder.decode(raw)
            refused += found is None
            # The plugin of blosc2 looks at what comes behind the chunk as well.
            if found not in (None, decoder.values.tobytes()) and "blosc2" not in stack[0]:
                assert found == decoder.by_libhdf5(raw, path), "libhdf5 disagrees"
    say("refused", refused)


def say(*words):
    """Notes how far this got, should the process end here."""
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
