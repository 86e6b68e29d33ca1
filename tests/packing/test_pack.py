"""Any data set as an HDF5 file: the same values, in a layout that is read fast."""

import hashlib

import h5py
import hdf5plugin  # noqa: F401 - h5py reads zstd and the like with it
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import headrace as hr
from headrace.errors import (
    DataError,
    DiskFullError,
    MissingFileError,
    OptionError,
    ShapeError,
    TypeNotSupportedError,
)
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write

COMPRESSIONS = [None, "gzip", "lzf", "zstd", "lz4", "bzip2"]
IMAGES = images(300)
LABELS = np.arange(300)

dtypes = st.one_of(
    st.sampled_from([np.dtype(bool), np.dtype("S5"), np.dtype("c8"), np.dtype("f2")]),
    hnp.integer_dtypes(),
    hnp.floating_dtypes(sizes=(32, 64)),
)


@pytest.fixture
def data(tmp_path):
    """A gzip file of images and labels."""
    path = write(tmp_path / "in.h5", image=gzip(IMAGES, 7), label=LABELS)
    return hr.from_hdf5(path, x="image", y="label")


@st.composite
def fields(draw):
    """One to three arrays of as many rows, of any dtype and shape."""
    rows = draw(st.integers(1, 40))
    return [
        draw(hnp.arrays(draw(dtypes), (rows, *draw(hnp.array_shapes(min_dims=0, max_side=4)))))
        for _ in range(draw(st.integers(1, 3)))
    ]


@settings(max_examples=60)
@given(
    arrays=fields(),
    compression=st.sampled_from(COMPRESSIONS),
    chunk=st.integers(1, 400),
    memory=st.sampled_from(["3MB", "50MB"]),
    shuffle=st.booleans(),
)
def test_what_is_packed_is_what_comes_back(tmp_path, arrays, compression, chunk, memory, shuffle):
    """Any dtype and shape, compressed or not: through Headrace, and through h5py."""
    path = tmp_path / "out.h5"
    packed = hr.pack(
        hr.from_arrays(arrays),
        path,
        compression=compression,
        chunk=chunk if compression else None,
        shuffle=shuffle,
        seed=5 if shuffle else None,
        memory=memory,
        overwrite=True,
    )
    (x,) = packed[:]
    order = np.arange(len(arrays[0]))
    if shuffle:
        ids = hr.from_arrays(order).batch(len(order), shuffle="exact", seed=5)
        ((order,),) = list(ids)
    with h5py.File(path) as file:
        for number, array in enumerate(arrays):
            expected = array.astype(array.dtype.newbyteorder("="))[order]
            assert x[number].tobytes() == expected.tobytes()
            stored = file[f"x.{number}"]
            assert stored[:].tobytes() == expected.tobytes()
            assert stored.shape == array.shape
            assert stored.compression == (compression if compression in ("gzip", "lzf") else None)
    assert hr.verify(path).ok


def test_names_and_structure_are_kept(data, tmp_path):
    """Fields have the names that they had, x and y need not be named again."""
    hr.pack(data, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"image", "label"}
        assert np.array_equal(file["image"][:], IMAGES)
    for opened in (hr.open(tmp_path / "out.h5"), hr.from_hdf5(tmp_path / "out.h5")):
        x, y = opened[5:9]
        assert np.array_equal(x, IMAGES[5:9])
        assert y.tolist() == [5, 6, 7, 8]
    assert hr.open(tmp_path / "out.h5", x="label").spec.y is None


def test_dicts_lists_groups_and_members_keep_their_places(tmp_path):
    """Named inputs, several targets, a group, a member of compound values, weights."""
    table = np.zeros(20, [("pt", "f4"), ("tag", "i1")])
    table["pt"] = np.arange(20)
    path = write(tmp_path / "in.h5", jets=table)
    with h5py.File(path, "a") as file:
        file["meta/age"] = np.arange(20.0)
        file["w"] = np.ones(20, "f4")
    data = hr.from_hdf5(
        path, x={"age": "meta/age", "pt": "jets['pt']"}, y=["jets['tag']"], sample_weight="w"
    )
    packed = hr.pack(data, tmp_path / "out.h5")
    assert packed.spec.x == {"age": "meta/age", "pt": "jets.pt"}
    assert packed.spec.y == ("jets.tag",)
    assert packed.spec.sample_weight == "w"
    for ours, theirs in zip(hr.spec.leaves(packed[:]), hr.spec.leaves(data[:]), strict=True):
        assert np.array_equal(ours, theirs)


def test_chunks_are_written_while_h5py_reads(tmp_path):
    """h5py 3.14 does not lock libhdf5 for a chunk that comes compressed, so that is done here."""
    values = np.arange(4000 * 3072, dtype="i4").reshape(4000, 3072) & 0xFFF
    offset = {"data": values, "chunks": (8, 3072), "scaleoffset": 0}
    data = hr.from_hdf5(write(tmp_path / "in.h5", x=offset), x="x")
    assert data.pipeline.view.parts[0].source.read_paths()["x"].path == "h5py"
    packed = hr.pack(data, tmp_path / "out.h5", compression="gzip", level=1, chunk="100kB")
    assert np.array_equal(packed[:][0], values)


def test_data_in_other_files_are_packed_where_they_may_be_read(tmp_path):
    """What is noted there is not known here."""
    (tmp_path / "away").mkdir()
    write(tmp_path / "away" / "other.h5", label=LABELS)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["image"] = IMAGES
        file["label"] = h5py.ExternalLink("away/../away/other.h5", "/label")
        file["cats"] = h5py.ExternalLink("away/other.h5", "/")
    data = hr.from_hdf5(
        tmp_path / "in.h5", x="image", y=["label", "cats/label"], allow_external=True
    )
    _, (first, second) = hr.pack(data, tmp_path / "out.h5")[:]
    assert first.tolist() == second.tolist() == LABELS.tolist()


def test_an_autoencoder_keeps_its_one_field(tmp_path):
    """A field that is x and y is stored once."""
    data = hr.from_hdf5(write(tmp_path / "in.h5", image=IMAGES), x="image", y="image")
    packed = hr.pack(data, tmp_path / "out.h5")
    assert (packed.spec.x, packed.spec.y) == ("image", "image")
    assert len(packed.spec) == 1


def test_a_part_a_selection_and_a_mapped_set_can_be_packed(data, tmp_path):
    """What the data set gives is what is written."""
    train, val = data.split(0.8, seed=1)
    joined = hr.concat(val, train.take(10)).map(lambda x, y: (x.astype("f4") / 2, {"a": y % 3}))
    packed = hr.pack(joined, tmp_path / "out.h5", compression="gzip")
    assert packed.spec.y == {"a": "y.a"}
    for ours, theirs in zip(hr.spec.leaves(packed[:]), hr.spec.leaves(joined[:]), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_names_in_any_writing(data, tmp_path):
    """As h5py writes them."""
    packed = hr.pack(data, tmp_path / "out.h5", names={"image": "Größe/图"})
    assert packed.spec.x == "Größe/图"
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["Größe/图"][:], IMAGES)


def test_names_can_be_given(data, tmp_path):
    """Of mapped fields, for example."""
    mapped = data.map(lambda x, y: (x / 255, y))
    packed = hr.pack(mapped, tmp_path / "out.h5", names={"x": "photos/image", "y": "label"})
    assert (packed.spec.x, packed.spec.y) == ("photos/image", "label")


@pytest.mark.parametrize("names", [{"x": "y"}, {"x": "a/b", "y": "a"}, {"x": ""}, {"x": "."}])
def test_names_that_cannot_be_are_refused(tmp_path, names):
    """Twice the same, a group that is a field as well, none at all."""
    with refused(OptionError, "names="):
        hr.pack(hr.from_arrays(IMAGES, LABELS), tmp_path / "out.h5", names=names)


def test_rows_lie_in_one_piece_from_a_page_on(data, tmp_path):
    """Contiguous and aligned, read by address."""
    packed = hr.pack(data, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["image"].chunks is None
        assert file["image"].id.get_offset() % 4096 == 0
    report = packed.batch(10).report()
    assert report.paths["image"]["path"] == "direct rows"


def test_chunks_hold_whole_samples_and_the_bytes_asked_for(data, tmp_path):
    """All fields have the same rows in a chunk."""
    hr.pack(data, tmp_path / "out.h5", compression="gzip", chunk="1kB")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["image"].chunks == (1000 // 48, 4, 4, 3)
        assert file["label"].chunks == (1000 // 48,)
        assert file["label"].shuffle
        assert file["image"].compression_opts == 4
    large = hr.from_arrays(np.zeros((3000, 100), "f8"))
    hr.pack(large, tmp_path / "large.h5", compression="lzf")
    with h5py.File(tmp_path / "large.h5") as file:
        assert file["x"].chunks == (2**21 // 800, 100)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_same_data_make_the_same_file(data, tmp_path, compression):
    """Whatever memory and threads are used."""
    digests = set()
    for number, more in enumerate([{}, {"memory": "300kB", "workers": 1}, {"workers": 5}]):
        path = tmp_path / f"{number}.h5"
        chunk = "2kB" if compression else None
        hr.pack(data, path, compression=compression, chunk=chunk, **more)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_incompressible_values_are_stored_as_they_are(tmp_path):
    """A chunk does not grow; any reader knows by its mask."""
    noise = np.frombuffer(np.random.default_rng(0).bytes(40_000), "u2").reshape(-1, 50)
    for compression in COMPRESSIONS[1:]:
        path = tmp_path / f"{compression}.h5"
        hr.pack(hr.from_arrays(noise), path, compression=compression, chunk=4000)
        with h5py.File(path) as file:
            assert file["x"].id.get_storage_size() <= noise.nbytes
            assert np.array_equal(file["x"][:], noise)


@pytest.mark.parametrize(
    "options, parts",
    [
        ({"compression": "rar"}, ["gzip", "zstd", "'rar'"]),
        ({"compression": "gzip", "level": 10}, ["1 to 9", "10"]),
        ({"compression": "lzf", "level": 1}, ["no level"]),
        ({"level": 4}, ["level=", "compression="]),
        ({"chunk": "1MB"}, ["chunk=", "compression="]),
        ({"dtype": {"nothing": "f4"}}, ["'nothing'", "image, label"]),
        ({"dtype": "f5"}, ["dtype="]),
        ({"dtype": "S3"}, ["'image'", "map()"]),
        ({"names": {"nothing": "a"}}, ["'nothing'"]),
        ({"shuffle": "exact"}, ["shuffle", "True or False"]),
        ({"seed": 3}, ["seed=", "shuffle=True"]),
        ({"shuffle": True, "seed": -1}, ["seed"]),
        ({"shard_size": "none"}, ["size"]),
        ({"workers": 0}, ["workers"]),
        ({"resume": True}, ["shard_size="]),
    ],
)
def test_arguments_that_cannot_be_honoured_are_refused(data, tmp_path, options, parts):
    """Before anything is written."""
    with refused(OptionError, *parts):
        hr.pack(data, tmp_path / "out.h5", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_other_things_than_data_sets_are_refused(tmp_path):
    """An array, or a path."""
    with refused(OptionError, "data set"):
        hr.pack(IMAGES, tmp_path / "out.h5")
    with refused(ShapeError, "no rows"):
        hr.pack(hr.from_arrays(IMAGES).take(0), tmp_path / "out.h5")


def test_types_that_hdf5_lacks_are_refused(tmp_path):
    """With the way out."""
    text = hr.from_arrays(np.array(["ab", "c"]))
    with refused(TypeNotSupportedError, "'x'", "map()", "astype('S')"):
        hr.pack(text, tmp_path / "out.h5")
    packed = hr.pack(text.map(lambda x: x.astype("S")), tmp_path / "out.h5")
    assert packed[:][0].tolist() == [b"ab", b"c"]


def test_a_map_that_changes_its_mind_is_an_error(data, tmp_path):
    """A dataset has one dtype and one shape."""
    with refused(DataError, "map()", "(4, 4, 3) float32", "(4, 4, 3) float64"):
        odd = data.map(lambda x, y: (x.astype("f4" if y[0] % 2 else "f8"), y))
        hr.pack(odd, tmp_path / "out.h5", compression="gzip", chunk=48 * 8)
    assert not (tmp_path / "out.h5").exists()


def test_what_is_there_is_not_overwritten(data, tmp_path):
    """Unless that is said."""
    path = tmp_path / "out.h5"
    path.write_text("old")
    with refused(OptionError, "out.h5", "overwrite=True"):
        hr.pack(data, path)
    assert path.read_text() == "old"
    hr.pack(data, path, overwrite=True)
    assert hr.verify(path).ok


def test_places_where_nothing_can_be_written_are_refused(data, tmp_path):
    """A missing folder, and a folder in the file's place."""
    with refused(MissingFileError, "missing"):
        hr.pack(data, tmp_path / "missing" / "out.h5")
    (tmp_path / "folder").mkdir()
    with refused(OptionError, "folder", "shard_size="):
        hr.pack(data, tmp_path / "folder", overwrite=True)


def test_a_disk_without_room_is_found_before_the_work(tmp_path):
    """A petabyte."""
    huge = hr.from_arrays(np.broadcast_to(np.zeros(1000, "u1"), (10**12, 1000)))
    with refused(DiskFullError, "out.h5", "left"):
        hr.pack(huge, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"shard_size": "4kB"}])
def test_holes_between_members_are_not_written(tmp_path, options):
    """What lies in them is not the same from read to read, so that no checksum would fit."""
    inner = np.dtype([("a", "u1"), ("b", ">f4", (2,))], align=True)
    kind = np.dtype([("id", "u1"), ("pt", ">f8"), ("more", inner)], align=True)
    values = np.full(500 * kind.itemsize, 0xAB, np.uint8).view(kind)
    values["id"], values["pt"] = np.arange(500) % 256, np.arange(500)
    packed = hr.pack(hr.from_arrays(values), tmp_path / "out", **options)
    found = packed[:][0]
    assert found.dtype.itemsize == 1 + 8 + 1 + 8
    for name in ("id", "pt"):
        assert np.array_equal(found[name], values[name])
    assert found["more"]["b"].tobytes() == values["more"]["b"].astype("<f4").tobytes()
    assert hr.verify(tmp_path / "out").ok


@pytest.mark.parametrize("storage", [{}, {"shard_size": "4kB"}])
def test_what_hdf5_has_no_type_for_is_refused(data, tmp_path, storage):
    """Before anything is written."""
    strange = hr.from_arrays(np.arange(10).astype(ml_dtypes.bfloat16))
    for one in (strange, data.map(lambda x, y: (x.astype(object), y))):
        with refused(TypeNotSupportedError, "HDF5 has no type for"):
            hr.pack(one, tmp_path / "out", **storage)
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


def test_a_progress_bar_is_shown_when_asked_for(data, tmp_path, capfd):
    """With rate and time left; none in a pipe."""
    hr.pack(data, tmp_path / "out.h5")
    assert capfd.readouterr() == ("", "")
    hr.pack(data, tmp_path / "out.h5", overwrite=True, progress=True)
    out, err = capfd.readouterr()
    assert not out
    assert "writing" in err
    assert "16.8/16.8 kB" in err


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_balanced_data_set_can_be_packed(data, tmp_path, shuffle):
    """The samples of epoch 0: as many of each class as asked for, whatever the memory."""
    classes = (np.arange(300) > 250).astype("i8")
    balanced = data.balance(classes, length=1000)
    options = {"shuffle": True, "seed": 2} if shuffle else {}
    packed = hr.pack(balanced, tmp_path / "a.h5", **options)
    x, y = packed[:]
    assert len(packed) == 1000
    assert classes[y].sum() == 500
    assert np.array_equal(x, IMAGES[y])
    if shuffle:
        assert np.abs(np.diff(y)).mean() > 50
    else:
        ((_, expected),) = list(balanced.batch(1000))
        assert np.array_equal(y, expected)
    hr.pack(balanced, tmp_path / "b.h5", memory="3MB", workers=1, **options)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
