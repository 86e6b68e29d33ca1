"""Attributes that libhdf5 cannot read: everything else is read."""

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace import cli
from headrace.errors import FileFormatError
from headrace.sources.hdf5 import HDF5Source
from headrace.sources.hdf5.opening import damage_explained, open_file
from headrace.sources.hdf5.survey import survey

VALUES = np.arange(20.0)

PLACES = ["/", "x", "group"]


def of_a_later_version(path, place):
    """An attribute of a type that this libhdf5 does not know, beside one that it knows."""
    with h5py.File(path, "w", libver="earliest") as file:
        file["x"] = VALUES
        file["group/y"] = VALUES
        file[place].attrs["unit"] = 7
        file[place].attrs.create("later_attr", 1, dtype="<i4")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"later_attr\0") + 16  # the name, padded to 8 bytes; then the type
    assert raw[at] == 0x10
    raw[at] = 0xFB  # version 15
    path.write_bytes(raw)
    return path


def damaged_in_its_heap(path):
    """Of two attributes of the root, a text cannot be read."""
    with h5py.File(path, "w") as file:
        file["x"] = VALUES
        file.attrs["note"] = "hello"
        file.attrs["unit"] = 7
    raw = bytearray(path.read_bytes())
    at = raw.index(b"GCOL")
    raw[at + 8 : at + 16] = (7).to_bytes(8, "little")
    path.write_bytes(raw)
    return path


def attributes_of(path):
    """What a survey says of the attributes of each object."""
    found = survey(path)
    return {one.name or "/": one.attributes for one in (found.root, *found.everything())}


@pytest.mark.parametrize("place", PLACES)
def test_data_beside_an_attribute_of_a_later_version_are_read(path, place):
    of_a_later_version(path, place)
    for name in ("x", "group/y"):
        assert (hr.from_hdf5(path, x=name)[:][0] == VALUES).all()
    assert (hr.open(path, x="x")[:][0] == VALUES).all()


@pytest.mark.parametrize("place", PLACES)
def test_info_shows_that_attributes_cannot_be_read(path, place, capsys):
    """And the datasets; the file is not damaged."""
    of_a_later_version(path, place)
    said = attributes_of(path)[place]
    assert list(said) == ["all 2 attributes"]
    assert f"HDF5 {h5py.version.hdf5_version} is too old" in said["all 2 attributes"]
    assert cli.main(["info", str(path)]) == 0
    assert "(20,)" in capsys.readouterr().out


def test_one_attribute_whose_value_is_damaged_does_not_hide_the_others(path):
    damaged_in_its_heap(path)
    assert (hr.from_hdf5(path, x="x")[:][0] == VALUES).all()
    said = attributes_of(path)["/"]
    assert said["unit"] == "7"
    assert said["note"].startswith("cannot be read: HDF5")


def test_pack_says_which_attributes_it_cannot_keep(path, tmp_path):
    """And keeps the others."""
    damaged_in_its_heap(path)
    with pytest.warns(UserWarning, match=r"unreadable, .*: /: note\."):
        hr.pack(hr.from_hdf5(path, x="x"), tmp_path / "packed.h5")
    with h5py.File(tmp_path / "packed.h5") as file:
        assert file.attrs["unit"] == 7
        assert "note" not in file.attrs


@pytest.mark.parametrize("place", ["/", "x"])
def test_pack_goes_on_where_no_attribute_can_be_read(path, tmp_path, place):
    of_a_later_version(path, place)
    with pytest.warns(UserWarning, match=f"{place}: all 2 attributes"):
        hr.pack(hr.from_hdf5(path, x="x"), tmp_path / "packed.h5")
    assert (hr.from_hdf5(tmp_path / "packed.h5", x="x")[:][0] == VALUES).all()
    assert hr.verify(tmp_path / "packed.h5").ok


def test_a_dataset_of_a_later_version_is_not_said_to_need_a_download(path):
    """The type of its values is the one that this libhdf5 does not know."""
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("x", data=np.arange(20, dtype="<i4"))
    raw = bytearray(path.read_bytes())
    at = raw.rindex(bytes([0x10, 8, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0]))
    raw[at] = 0xF0
    path.write_bytes(raw)
    with pytest.raises(FileFormatError) as caught:
        HDF5Source(path, ["x"])
    assert f"than HDF5 {h5py.version.hdf5_version} knows" in str(caught.value)
    assert "Update h5py" in str(caught.value)
    assert "download" not in str(caught.value)


def test_a_file_with_a_later_superblock_is_not_said_to_be_damaged_alone(path):
    with h5py.File(path, "w") as file:
        file["x"] = VALUES
    raw = bytearray(path.read_bytes())
    raw[8] = 9
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"later version of the HDF5 format.*Update h5py"):
        open_file(str(path))


def test_other_damage_is_still_called_so():
    """Words about anything but versions."""
    with pytest.raises(FileFormatError, match=r"is damaged.*download"), damage_explained("'x'"):
        raise RuntimeError("Can't open object (address overflowed)")
