"""More files than may be open at a time: each is opened again when it is needed."""

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import ChangedFileError, MissingFileError
from headrace.sources import file as file_module
from headrace.sources import open_files as opened
from headrace.sources.file import File
from headrace.sources.hdf5 import HDF5Source
from headrace.testing import SourceTests, check_reads
from tests.files import write
from tests.sources.storage import IMAGES, STORAGE

COUNT, SIZE, MOST = 40, 5000, 8


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Forty files of random bytes, of which eight may be open."""
    monkeypatch.setattr(opened, "open_files_limit", lambda: 4 * MOST)
    for k in range(COUNT):
        (tmp_path / str(k)).write_bytes(content(k).tobytes())
    return [File(str(tmp_path / str(k))) for k in range(COUNT)]


def content(k):
    return np.random.default_rng(k).integers(0, 256, SIZE, np.uint8)


def check(file, number, rng):
    """Reads in each way, and compares."""
    expected = content(number)
    out = np.empty(100, np.uint8)
    offset = int(rng.integers(0, SIZE - 100))
    file.read_into(out, offset)
    assert (out == expected[offset : offset + 100]).all()
    rows = np.empty((20, 7), np.uint8)
    offsets = rng.integers(0, SIZE - 7, 20)
    file.gather(offsets, rows.shape[1], rows.reshape(-1))
    assert (rows == expected[offsets[:, None] + np.arange(7)]).all()
    file.announce(offsets, 7)
    file.check_unchanged()


def descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def held(files):
    return [number for number, file in enumerate(files) if file._open is not None]


def test_only_so_many_are_open(files):
    """The last ones that were used."""
    for number, file in enumerate(files):
        check(file, number, np.random.default_rng(0))
        assert len(held(files)) <= MOST
    assert held(files) == list(range(COUNT - MOST, COUNT))


def test_what_is_used_stays_open(files):
    for number, file in enumerate(files):
        check(file, number, np.random.default_rng(0))
        check(files[0], 0, np.random.default_rng(0))
    assert 0 in held(files)


@pytest.mark.parametrize("kind", [opened.OpenFile, opened.SeekingFile])
def test_many_threads_read_many_files(files, kind, monkeypatch):
    """Nobody reads from a descriptor that is another file's by now."""
    monkeypatch.setattr(opened, "open_file", kind)

    def read(seed):
        rng = np.random.default_rng(seed)
        for number in rng.integers(0, COUNT, 300).tolist():
            check(files[number], number, rng)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert len(held(files)) <= MOST


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_descriptors_are_given_back(files):
    before = descriptors()
    for number, file in enumerate(files):
        check(file, number, np.random.default_rng(0))
    assert descriptors() - before <= 2 * MOST
    del file
    files.clear()
    assert descriptors() <= before


def test_a_file_replaced_while_it_was_closed_is_noticed(files, tmp_path):
    """Those that stayed open go on with what they were."""
    for number, file in enumerate(files):
        check(file, number, np.random.default_rng(0))
    out = np.empty(10, np.uint8)
    for number in (0, COUNT - 1):
        (tmp_path / "other").write_bytes(bytes(SIZE))
        (tmp_path / "other").replace(tmp_path / str(number))
    files[-1].read_into(out, 0)
    assert (out == content(COUNT - 1)[:10]).all()
    with pytest.raises(ChangedFileError, match="0' was replaced by another file"):
        files[0].read_into(out, 0)
    (tmp_path / "1").unlink()
    with pytest.raises(MissingFileError, match="1'"):
        files[1].read_into(out, 0)


@pytest.fixture
def without_pread(monkeypatch):
    """What Windows lacks: reads at an offset, and gathering from mapped memory."""
    monkeypatch.setattr(opened, "open_file", opened.SeekingFile)
    monkeypatch.setattr(file_module, "_copy_within_process", None)


@pytest.mark.usefixtures("without_pread")
class TestWithoutPread(SourceTests):
    """The whole contract, where a read has to move the file's position."""

    @pytest.fixture(params=STORAGE)
    def source(self, request, tmp_path):
        storage = {"data": IMAGES, **STORAGE[request.param]}
        return HDF5Source(
            write(tmp_path / "data.h5", image=storage, id=np.arange(64)), ["image", "id"]
        )

    @pytest.fixture
    def oracle(self):
        return {"image": IMAGES, "id": np.arange(64)}

    def test_the_position_is_moved(self, source, oracle):
        """So that the tests above are about what they say."""
        check_reads(source, oracle, np.arange(64))
        assert isinstance(source._files[0].open(), opened.SeekingFile)


@pytest.mark.usefixtures("without_pread")
def test_large_reads_are_made_in_parts(tmp_path, monkeypatch):
    """Some systems refuse reads of 2 GiB."""
    monkeypatch.setattr(opened, "_LARGEST_READ", 1000)
    for kind in (opened.OpenFile, opened.SeekingFile):
        monkeypatch.setattr(opened, "open_file", kind)
        (tmp_path / "a").write_bytes(content(3).tobytes())
        out = np.empty(SIZE - 7, np.uint8)
        File(str(tmp_path / "a")).read_into(out, 7)
        assert (out == content(3)[7:]).all()
