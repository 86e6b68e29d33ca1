"""Files that end too early, whose bits flip, or that anything happened to: values or errors."""

import os
import subprocess
import sys
from contextlib import suppress

import h5py
import numpy as np
import pytest

from headrace.errors import (
    ChangedFileError,
    FileFormatError,
    HeadraceError,
    ReadError,
)
from headrace.sources.hdf5 import HDF5Source, list_datasets
from tests.files import images, overwrite, write
from tests.fuzz import checksum
from tests.sources.storage import IMAGES, WHOLE, read

# Files that end too early.


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1])
def test_a_truncated_file_says_so(stored, share):
    """With the size that it has, and what to do."""
    size = int(stored.stat().st_size * share)
    os.truncate(stored, size)
    with pytest.raises(FileFormatError, match=rf"truncated: it has {size} bytes .* Copy or downl"):
        HDF5Source(stored, ["image"])


def test_a_file_cut_off_in_its_first_bytes_is_refused(stored):
    for size in (100, 64, 9, 8, 7, 1, 0):
        os.truncate(stored, size)
        with pytest.raises(FileFormatError, match=r"data\.h5"):
            HDF5Source(stored, ["image"])


def test_a_truncated_file_that_hides_it_is_an_error(stored):
    """The header is corrected by hand, so that libhdf5 opens the file."""
    with h5py.File(stored, "r") as file:
        offset = file["image"].id.get_offset() or file["image"].id.get_chunk_info(5).byte_offset
    size = offset + 100
    os.truncate(stored, size)
    overwrite(stored, 40, size.to_bytes(8, "little"))
    with pytest.raises((FileFormatError, ReadError), match=r"'image' in .*data\.h5'"):
        read(HDF5Source(stored, ["image"]))


CUT = """
import os, sys
from pathlib import Path
import numpy as np
from headrace.errors import HeadraceError
from headrace.sources import empty_arrays, run_reads, value_bytes
from headrace.sources.hdf5 import HDF5Source

path = Path(sys.argv[1])
content = path.read_bytes()
oracle = HDF5Source(path, ["image"])
rows = np.arange(oracle.length)
right = empty_arrays(oracle.fields, len(rows))
run_reads(oracle.reads(rows, right))
read = 0
for size in range(0, len(content), 1000):
    # As it comes, and with a header that hides it.
    for hidden in (False, True):
        path.unlink()
        cut = bytearray(content[:size])
        if hidden and size > 48:
            cut[40:48] = size.to_bytes(8, "little")
        path.write_bytes(cut)
        try:
            source = HDF5Source(path, ["image"])
        except HeadraceError as error:
            assert "data.h5" in str(error), error
            continue
        for start in range(0, source.length, 8):
            out = empty_arrays(source.fields, 8)
            try:
                run_reads(source.reads(rows[start : start + 8], out))
            except HeadraceError as error:
                assert "'image'" in str(error), error
                continue
            read += 1
            assert value_bytes(out["image"]) == value_bytes(right["image"][start : start + 8]), size
print(read)
"""


def test_a_file_cut_off_anywhere_gives_its_values_or_an_error(stored):
    """At every thousandth byte, and also where nothing but the missing data shows it."""
    command = [sys.executable, "-c", CUT, str(stored)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


# Bits that flip.


CHECKED = {
    "fletcher32": {"fletcher32": True},
    "gzip + fletcher32": {"fletcher32": True, "compression": "gzip"},
    "shuffle + fletcher32": {"fletcher32": True, "shuffle": True},
    "gzip, which has one of its own": {"compression": "gzip"},
}


@pytest.mark.parametrize("storage", CHECKED.values(), ids=CHECKED)
def test_a_flipped_bit_in_data_with_a_checksum_is_an_error_or_does_no_harm(path, storage):
    write(path, image={"data": IMAGES, "chunks": WHOLE, **storage})
    with h5py.File(path, "r") as file:
        stored = file["image"].id
        infos = [stored.get_chunk_info(i) for i in range(stored.get_num_chunks())]
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    harmless = 0
    for _ in range(150):
        info = infos[int(rng.integers(len(infos)))]
        at = info.byte_offset + int(rng.integers(info.size))
        path.unlink()
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        first = info.chunk_offset[0]
        source = HDF5Source(path, ["image"])
        with suppress(ReadError):
            got = read(source, np.arange(first, first + 8))
            harmless += 1
            assert (got == IMAGES[first : first + 8]).all()
        others = np.setdiff1d(np.arange(64), np.arange(first, first + 8))
        assert (read(source, others) == IMAGES[others]).all()
    assert harmless < 15


# Anything.


MUTATE = """
import sys
from pathlib import Path
import numpy as np
from headrace.errors import HeadraceError
from headrace.sources import empty_arrays, run_reads
from headrace.sources.hdf5 import HDF5Source
from tests.files import mutate

path = Path(sys.argv[1])
content = path.read_bytes()
refused = 0
for seed in range(int(sys.argv[2])):
    mutate(path, content, seed)
    for name in ("contiguous", "raw", "gzip", "lzf", "scaleoffset"):
        try:
            source = HDF5Source(path, [name])
            if source.length * source.fields[0].nbytes < 1 << 20:
                run_reads(source.reads(
                    np.arange(source.length), empty_arrays(source.fields, source.length)
                ))
                source.fingerprint()
        except HeadraceError as error:
            refused += 1
            assert str(path) in str(error), error
print(refused)
"""


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_random_damage_raises_no_other_errors(path, libver):
    """Every error is Headrace's own, and names the file."""
    with h5py.File(path, "w", libver=libver) as file:
        file["contiguous"] = images(20)
        file.create_dataset("raw", data=images(20), chunks=(4, 4, 4, 3))
        file.create_dataset("gzip", data=images(20), chunks=(4, 3, 4, 3), compression="gzip")
        file.create_dataset("lzf", data=images(20), chunks=(4, 4, 4, 3), compression="lzf")
        file.create_dataset("scaleoffset", data=images(20), chunks=(4, 4, 4, 3), scaleoffset=8)
    command = [sys.executable, "-c", MUTATE, str(path), "150"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert int(done.stdout) > 20


def test_a_file_that_cannot_be_closed_for_damage_is_an_error_of_headrace(path):
    """An address of a heap leads libhdf5 to change the file when it closes it."""
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(30):
            file[f"many/d{number}"] = number
    content = bytearray(path.read_bytes())
    pieces = checksum.find(bytes(content))
    (heap,) = [at for at, _ in pieces if content[at : at + 4] == b"FRHP"]
    content[heap + 28 : heap + 31] = b"\x09\0\0"
    checksum.repair(content, pieces)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"data\.h5' is damaged"):
        list_datasets(path)


def test_every_error_is_a_headrace_error():
    """What the tests above expect can all be caught in one way."""
    assert issubclass(ChangedFileError, ReadError)
    assert issubclass(ReadError, HeadraceError)
