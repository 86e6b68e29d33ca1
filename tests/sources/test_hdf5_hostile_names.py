"""Groups, links, names and virtual datasets without end: refused or bounded, and soon."""

import sys
import time

import h5py
import numpy as np
import pytest
from h5py import h5d, h5g, h5o, h5p, h5s, h5t

import headrace as hr
from headrace.cli import main
from headrace.errors import (
    DataError,
    FieldNotFoundError,
    HeadraceError,
)
from headrace.sources.hdf5 import HDF5Source, finding, list_datasets
from tests.files import images, write
from tests.sources.hostile_files import refused

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


# Groups, links and names.


def nested(path, levels):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5)
        group = file.id
        for _ in range(levels):
            group = h5g.create(group, b"g")


def test_ten_thousand_groups_in_groups_are_not_gone_through(look, path):
    nested(path, 10_000)
    found = look()
    refused(found, "1000 deep", "Name the dataset to read with x=", step="list")
    assert found["all"] == ["fine", "np.int64(10)"]
    with pytest.raises(FieldNotFoundError, match=r"no field 'y' in .* It holds: x\."):
        HDF5Source(path, ["y"])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_very_many_names_are_cut_off(path, monkeypatch, libver):
    monkeypatch.setattr(finding, "MOST_NAMES", 1000)
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("many")
        file["x"] = np.arange(5)
        for i in range(1100):
            h5o.link(file["x"].id, group.id, b"%06d" % i)
    with pytest.raises(DataError, match="more than 1000 names"):
        list_datasets(path)
    with pytest.raises(FieldNotFoundError, match="no field 'y'"):
        HDF5Source(path, ["y"])
    assert hr.from_hdf5(path, x="many/000500")[:][0].tolist() == [0, 1, 2, 3, 4]


def test_groups_that_contain_themselves_are_listed_once(path):
    with h5py.File(path, "w") as file:
        file["a/b/x"] = np.arange(5)
        file["a/b/up"] = file["a"]
        file["a/root"] = file["/"]
        file["z"] = file["a/b/x"]
        file["soft"] = h5py.SoftLink("/soft")
        file["there"] = h5py.SoftLink("/back")
        file["back"] = h5py.SoftLink("/there")
    assert list_datasets(path) == ["a/b/x"]
    assert hr.from_hdf5(path, x="a/b/up/b/up/root/z")[:][0].tolist() == [0, 1, 2, 3, 4]
    for name in ("soft", "there"):
        with pytest.raises(DataError, match=r"circle|links"):
            HDF5Source(path, [name])


def test_a_hundred_thousand_attributes_are_left_alone(look, path):
    with h5py.File(path, "w", libver="latest") as file:
        made = file.create_dataset("x", data=np.arange(5))
        space = h5s.create(h5s.SCALAR)
        for i in range(100_000):
            h5py.h5a.create(made.id, b"%06d" % i, h5t.STD_U8LE, space)
    assert look()["all"] == ["fine", "np.int64(10)"]


EVIL = "\x1b[2J\x1b]0;title\x07\nOK: nothing is wrong\u202e\u200b\r\x9b31m"


def test_names_of_a_file_do_not_reach_the_terminal_as_they_are(path):
    """They would clear it, or write lines of their own."""
    write(path, **{EVIL: images(4), f"g/{EVIL}": images(4), "plain": np.arange(3)})
    messages = []
    for names in (["nope"], ["g"], [EVIL, "plain"]):
        with pytest.raises(HeadraceError) as caught:
            HDF5Source(path, names)
        messages.append(str(caught.value))
    with pytest.raises(HeadraceError) as caught:
        hr.from_hdf5(path)
    messages.append(str(caught.value))
    data = hr.from_hdf5(path, x=EVIL)
    loader = data.batch(2)
    messages += [repr(data), str(data.spec), *str(loader.report()).splitlines()]
    for message in messages:
        assert message.isprintable(), repr(message)
    assert sum("nothing is wrong" in message for message in messages) >= 6


def test_names_that_are_no_utf_8_are_listed_and_refused_in_words(path):
    with h5py.File(path, "w") as file:
        file[b"caf\xe9"] = np.arange(3)
    (name,) = list_datasets(path)
    with pytest.raises(HeadraceError) as caught:
        HDF5Source(path, [name])
    assert str(caught.value).isprintable()


def test_links_through_very_many_groups_are_refused_in_bounded_time(path):
    """Each of them the root again."""
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(10)
        file["a"] = file["/"]
        file["near"] = h5py.SoftLink("a/" * 100 + "data")
        file["far"] = h5py.SoftLink("a/" * 20_000 + "data")
        for number in range(16):
            file[f"s{number}"] = h5py.SoftLink("a/" * 5000 + f"s{number + 1}")
    assert HDF5Source(path, ["near"]).length == 10
    began = time.perf_counter()
    for name in ("far", "s0"):
        with pytest.raises(DataError, match="through more than 1000 groups"):
            HDF5Source(path, [name])
    assert main(["info", str(path)]) == 0
    assert time.perf_counter() - began < 20


# Virtual datasets.


def virtual(file, name, *sources):
    """A dataset that reads others of the file."""
    one = h5s.create_simple((4,))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(h5d.VIRTUAL)
    for source in sources:
        plist.set_virtual(one, b".", source, one)
    h5d.create(file.id, name, h5t.STD_U8LE, one, plist)


def test_virtual_datasets_in_virtual_datasets_without_end_are_refused(look, path):
    """libhdf5 crashes when it reads twenty thousand."""
    with h5py.File(path, "w", libver="latest") as file:
        file["0"] = np.arange(4, dtype="u1")
        for i in range(3000):
            virtual(file, b"%d" % (i + 1) if i < 2999 else b"x", b"%d" % i)
    refused(look(), "virtual dataset of virtual datasets, more than")


def test_very_many_pieces_of_a_virtual_dataset_are_refused(path, monkeypatch):
    from headrace.sources.hdf5.readers import mappings as module

    monkeypatch.setattr(module, "MOST_MAPPINGS", 100)
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(120):
            file[f"{i}"] = np.arange(4, dtype="u1")
        virtual(file, b"x", *(b"%d" % i for i in range(120)))
    with pytest.raises(DataError, match="more than 100 pieces"):
        HDF5Source(path, ["x"])


def test_a_virtual_dataset_that_reads_itself_is_refused(look, path):
    with h5py.File(path, "w", libver="latest") as file:
        virtual(file, b"x", b"x")
    refused(look(), "circle")
