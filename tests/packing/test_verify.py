"""What `verify` finds, and what it does not take for damage."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import FileFormatError, MissingFileError, OptionError
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write

N = 300
IMAGES = images(N)


@pytest.fixture(scope="module")
def data():
    return hr.from_arrays({"image": IMAGES}, np.arange(N))


def flip(path, place):
    """Changes a byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)


@settings(max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_byte_of_a_shard_that_changes_is_found(data, tmp_path, share):
    """And the shard is named."""
    hr.pack(data, tmp_path / "out", shard_size=48 * 100, overwrite=True)
    assert hr.verify(tmp_path / "out").ok
    shard = tmp_path / "out" / "shard-00001.h5"
    flip(shard, int(share * shard.stat().st_size))
    found = hr.verify(tmp_path / "out")
    assert len(found.problems) == 1
    assert found.problems[0].startswith("shard-00001.h5: its SHA-256 is ")


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_any_value_that_changes_is_found(data, tmp_path, compression):
    """The field is named."""
    chunk = 4800 if compression else None
    path = tmp_path / "out.h5"
    hr.pack(data, path, compression=compression, chunk=chunk)
    assert hr.verify(path).ok
    with h5py.File(path) as file:
        dataset = file["x.image"].id
        place = dataset.get_chunk_info(1).byte_offset if compression else dataset.get_offset()
    for byte in (0, 10, 100):
        hr.pack(data, path, compression=compression, chunk=chunk, overwrite=True)
        flip(path, place + byte)
        found = hr.verify(path)
        assert not found.ok
        assert found.problems[0].startswith("x.image: ")
        assert [line.split(":")[0] for line in found.checked] == ["y"]


def test_values_that_somebody_else_wrote_are_found(data, tmp_path):
    """With h5py, say: the file is whole, and not what it was."""
    hr.pack(data, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5", "a") as file:
        file["y"][7] = 8
        file["more"] = np.arange(3)
    found = hr.verify(tmp_path / "out.h5")
    assert found.problems == ("y: rows 0 to 299 are not what was written (CRC-32)",)
    assert any(
        line.startswith("more: 3 rows, read and decoded; no check") for line in found.checked
    )
    with h5py.File(tmp_path / "out.h5", "a") as file:
        del file["y"]
    assert "y: it is not there any more" in hr.verify(tmp_path / "out.h5").problems


def test_what_a_folder_lacks_is_named(data, tmp_path):
    """A shard that is gone, one that is cut short, one of other rows; and what is too much."""
    hr.pack(data, tmp_path / "out", shard_size=48 * 50)
    folder = tmp_path / "out"
    (folder / "shard-00000.h5").unlink()
    content = (folder / "shard-00001.h5").read_bytes()
    (folder / "shard-00001.h5").write_bytes(content[:-1])
    (folder / "notes.txt").write_text("")
    found = hr.verify(folder)
    assert len(found.problems) == 2
    assert "not there" in found.problems[0]
    assert f"has {len(content) - 1} bytes" in found.problems[1]
    assert found.remarks == ("notes.txt: not in the manifest, and not used",)
    assert "broken  shard-00000.h5" in str(found)


def test_files_of_others_are_read_to_the_end(tmp_path):
    """Whatever h5py reads; damage is named with its rows, and what is behind it is read too."""
    path = write(tmp_path / "in.h5", image=gzip(IMAGES, 8), table=np.arange(5.0), text=["a", "bc"])
    found = hr.verify(path)
    assert found.ok
    assert found.rows is None
    assert [line.split(":")[0] for line in found.checked] == ["image", "table"]
    assert found.remarks[0].startswith("text: ")
    with h5py.File(path) as file:
        place = file["image"].id.get_chunk_info(3).byte_offset
    flip(path, place + 5)
    found = hr.verify(path)
    assert "Rows 24 to 31 of 'image'" in found.problems[0]


def test_a_file_that_was_mended_is_whole(data, tmp_path):
    """Nothing of the damaged one is kept in memory, and it is not open any more."""
    path = tmp_path / "out.h5"
    hr.pack(data, path, compression="gzip")
    good = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["x.image"].id.get_chunk_info(0)
    middle = chunk.byte_offset + chunk.size // 2
    bad = good[:middle] + bytes(40) + good[middle + 40 :]
    for content in (bad, good, bad, good):
        path.write_bytes(content)
        assert hr.verify(path).ok == (content == good)
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        assert path not in [one.resolve() for one in descriptors.iterdir()]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_names_of_classes_that_change_are_found(tmp_path, compression):
    """libhdf5 has no checksum for texts of any length."""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["label"] = np.arange(300) % 3
        file.attrs["license"] = "CC0"
        file["label"].attrs.update(
            {"class_names": ["cat", "dog", "owl"], "unit": "é", "scale": [0.1, np.nan], "n": 3}
        )
    path = tmp_path / "out.h5"
    hr.pack(hr.from_hdf5(tmp_path / "in.h5", "label"), path, compression=compression)
    assert hr.verify(path).ok
    with h5py.File(path, "r+") as file:
        file["label"].attrs["mine"] = "added later"
    assert hr.verify(path).ok
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"dog", b"rat"))
    assert hr.verify(path).problems == (
        "label: its attribute 'class_names' is not what was written",
    )
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        del file["label"].attrs["unit"]
        file.attrs["license"] = "CC1"
    assert hr.verify(path).problems == (
        "label: its attribute 'unit' is not there any more",
        "/: its attribute 'license' is not what was written",
    )


@pytest.mark.parametrize(
    "options, word",
    [({"workers": 0}, "workers"), ({"memory": 0}, "bytes"), ({"memory": "much"}, "bytes")],
)
def test_options_of_verify_are_looked_at(data, tmp_path, options, word):
    """For files and for shards."""
    hr.pack(data, tmp_path / "out.h5")
    hr.pack(data, tmp_path / "shards", shard_size="10kB")
    for path in (tmp_path / "out.h5", tmp_path / "shards"):
        with refused(OptionError, word):
            hr.verify(path, **options)
    assert hr.verify(tmp_path / "shards", memory=100_000, workers=3).ok


def test_what_is_no_data_is_refused(tmp_path):
    """Nothing there, a folder without a manifest, a text."""
    with refused(MissingFileError, "missing.h5"):
        hr.verify(tmp_path / "missing.h5")
    with refused(MissingFileError, "manifest.json"):
        hr.verify(tmp_path)
    (tmp_path / "a.h5").write_text("text")
    with refused(FileFormatError, "a.h5"):
        hr.verify(tmp_path / "a.h5")
