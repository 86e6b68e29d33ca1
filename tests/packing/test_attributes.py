"""What files note beside the data goes along with them: names of classes, units, licenses."""

import h5py
import numpy as np
import pytest
from h5py import h5a, h5s, h5t

import headrace as hr
from headrace.errors import ChangedFileError
from tests.bad_input.refusal import refused
from tests.files import images, write

IMAGES = images(500)
LABELS = np.arange(500)


@pytest.mark.parametrize("size", [None, 48 * 100])
def test_what_is_noted_beside_fields_is_kept(tmp_path, size):
    """Text, numbers and names of classes; not once a map function was applied."""
    path = write(tmp_path / "in.h5", image=IMAGES, label=LABELS % 2)
    notes = {"unit": "counts", "scale": 0.5, "class_names": ["cat", "dög"], "ids": np.arange(3)}
    with h5py.File(path, "a") as file:
        file["label"].attrs.update(notes)
        file["label"].attrs["other"] = file["image"].ref
        file["image"].attrs["crc32"] = 7
    data = hr.from_hdf5(path, x="image", y="label")
    with pytest.warns(UserWarning, match="attributes.*image: crc32.*label: other"):
        hr.pack(data, tmp_path / "out", shard_size=size)
    hr.pack(data.map(lambda x, y: (x, y)), tmp_path / "mapped.h5")
    with h5py.File(tmp_path / "out" / "shard-00001.h5" if size else tmp_path / "out") as file:
        found = dict(file["label"].attrs)
        found.pop("crc32", None)
        assert found.keys() == notes.keys()
        assert (found["unit"], found["scale"]) == ("counts", 0.5)
        assert found["class_names"].tolist() == ["cat", "dög"]
        assert found["ids"].tolist() == [0, 1, 2]
    with h5py.File(tmp_path / "mapped.h5") as file:
        assert set(file["y"].attrs) == {"crc32"}
    hr.pack(hr.open(tmp_path / "out"), tmp_path / "again", shard_size=48 * 100)
    with h5py.File(tmp_path / "again" / "shard-00000.h5") as file:
        assert file["label"].attrs.keys() == notes.keys()


@pytest.mark.parametrize("size", [None, 48 * 100])
def test_what_is_noted_beside_files_and_groups_is_kept(tmp_path, size):
    """Also a hundred notes; a group's, unless its fields move out of it."""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["image"] = IMAGES
        file["cats/of/label"] = LABELS
        file["other"] = LABELS
        file.attrs.update({f"note {i}": i for i in range(100)} | {"license": "CC0"})
        file["cats"].attrs["camera"] = "old"
        file["cats/of"].attrs["year"] = 1999
        noted = dict(file.attrs)
    data = hr.from_hdf5(tmp_path / "in.h5", x="image", y="cats/of/label")
    for number in range(2):  # what was packed is packed again
        out = tmp_path / f"out{number}"
        data = hr.pack(data, out, shard_size=size)
        with h5py.File(out / "shard-00001.h5" if size else out) as file:
            found = dict(file.attrs)
            assert found.pop("headrace")
            assert found == noted
            assert dict(file["cats"].attrs) == {"camera": "old"}
            assert dict(file["cats/of"].attrs) == {"year": 1999}
    hr.pack(data, tmp_path / "moved.h5", names={"cats/of/label": "cats/label"})
    with h5py.File(tmp_path / "moved.h5") as file:
        assert dict(file["cats"].attrs) == {"camera": "old"}
    hr.pack(data.map(lambda x, y: (x, y)), tmp_path / "mapped.h5")
    with h5py.File(tmp_path / "mapped.h5") as file:
        assert set(file.attrs) == {"headrace"}


ODD = {
    "a matrix": np.eye(3),
    "many": np.arange(3000),
    "complex": 1 + 2j,
    "compound": np.array((1, 2.5), dtype=[("a", "i4"), ("b", "f8")]),
    "nothing": h5py.Empty("f4"),
    "no values": np.zeros(0, "i8"),
    "yes": True,
    "texts": np.array([["cat", "dög"]], dtype=object),
    "bytes": np.bytes_(b"a\xff"),
    "TITLE": "Cats of 2024",
    "VERSION": "1.2",
    "CLASS": "mine",
    "half": np.float16(0.5),
}


def test_attributes_stay_what_they_are(tmp_path):
    """Types, shapes and values to the bit, also those that no text or number can be made of."""
    with h5py.File(tmp_path / "in.h5", "w", libver="latest") as file:
        file["x"] = LABELS
        file["x"].attrs["large"] = np.arange(100_000)
        for item in (file, file["x"]):
            for name, value in ODD.items():
                item.attrs[name] = value
            kinds = h5py.enum_dtype({"cat": 0, "dog": 1}, basetype="u1")
            item.attrs.create("kind", 1, dtype=kinds)
            h5a.create(item.id, b"\xff name", h5t.STD_I16BE, h5s.create(h5s.SCALAR)).write(
                np.array(5, ">i2")
            )
            item.attrs.create("not text", [b"a\xffb"], dtype=h5py.string_dtype())
            for i in range(1500):
                item.attrs[f"k{i}"] = i
    hr.pack(hr.from_hdf5(tmp_path / "in.h5", "x"), tmp_path / "out.h5")
    assert hr.verify(tmp_path / "out.h5").ok
    hr.pack(hr.open(tmp_path / "out.h5"), tmp_path / "again.h5")
    with h5py.File(tmp_path / "in.h5") as old, h5py.File(tmp_path / "again.h5") as new:
        for before, after in ((old, new), (old["x"], new["x"])):
            names = set(attribute_names(before))
            assert names == set(attribute_names(after)) - {b"crc32", b"headrace"}
            for name in names:
                one, other = h5a.open(before.id, name), h5a.open(after.id, name)
                assert one.get_type().equal(other.get_type())
                assert one.get_space().shape == other.get_space().shape
            for name in ODD.keys() - {"nothing"}:
                assert np.array_equal(before.attrs[name], after.attrs[name]), name
            assert h5py.check_enum_dtype(after.attrs.get_id("kind").dtype) == {"cat": 0, "dog": 1}
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file.attrs.create("kind", 1, dtype=h5py.enum_dtype({"dog": 0, "cat": 1}, basetype="u1"))
    assert hr.verify(tmp_path / "out.h5").problems == (
        "/: its attribute 'kind' is not what was written",
    )


def attribute_names(item):
    names = []
    h5a.iterate(item.id, lambda name, *_: names.append(name))
    return names


def test_what_libraries_note_for_themselves_is_not_kept(tmp_path):
    """Dimension scales would name objects of another file."""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"] = LABELS
        file["x"].attrs["unit"] = "m"
        file["axis"] = np.arange(len(LABELS))
        file["axis"].make_scale("axis")
        file["x"].dims[0].attach_scale(file["axis"])
    hr.pack(hr.from_hdf5(tmp_path / "in.h5", ["x", "axis"]), tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file["x"].attrs) == {"unit", "crc32"}
        assert set(file["axis"].attrs) == {"crc32"}


def test_attributes_of_another_file_are_not_taken(tmp_path):
    """The file was replaced after the data set was made; nothing is written."""
    path = write(tmp_path / "in.h5", x=LABELS)
    data = hr.from_hdf5(path, "x")
    write(tmp_path / "other.h5", x=LABELS).rename(path)
    with refused(ChangedFileError, "in.h5"):
        hr.pack(data, tmp_path / "out.h5")
    assert [item.name for item in tmp_path.iterdir()] == ["in.h5"]
