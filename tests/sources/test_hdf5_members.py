"""Members of compound values, picked by name: what h5py gives, and each record read once."""

import itertools

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import FieldNotFoundError
from headrace.sources.hdf5 import HDF5Source, library
from headrace.sources.hdf5.filters.pipeline import FilterPipeline
from headrace.testing import SourceTests, check_any_order, check_reads
from tests.bad_input.refusal import refused
from tests.files import write
from tests.sources.records import EVENT, HIT, MEMBERS, PERSON, STORAGE, events, opened, oracle_of


class TestMembers(SourceTests):
    """All of them beside each other, in every form of storage."""

    @pytest.fixture(scope="class", params=STORAGE)
    @classmethod
    def stored(cls, request, tmp_path_factory):
        """A file, and the way in which it ought to be read."""
        options, path = STORAGE[request.param]
        folder = tmp_path_factory.mktemp("members")
        return write(folder / "a.h5", table={"data": events(), **options}), path

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, stored):
        return opened(stored[0], list(MEMBERS), stored[1])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls, stored):
        with h5py.File(stored[0], "r") as file:
            return oracle_of(file["table"][()])

    def test_takes_the_expected_path(self, source, stored):
        assert {path.path for path in source.read_paths().values()} == {stored[1]}


class TestMembersAndWholeRecords(SourceTests):
    """The whole table may be a field beside its members, and other data too."""

    @pytest.fixture(params=STORAGE)
    def file(self, request, tmp_path):
        options, way = STORAGE[request.param]
        table = {"data": events(), **options}
        return write(tmp_path / "a.h5", table=table, label=np.arange(60)), way

    @pytest.fixture
    def source(self, file):
        names = ["table['jet']['pt']", "label", "table", "table['id']", "/table"]
        return opened(file[0], names, file[1])

    @pytest.fixture
    def oracle(self):
        values = events()
        native = values.astype(EVENT.newbyteorder("="))
        return {
            "table['jet']['pt']": values["jet"]["pt"].astype("f8"),
            "label": np.arange(60),
            "table": native,
            "table['id']": values["id"].copy(),
            "/table": native,
        }


class TestMembersOfTablesOfTables(SourceTests):
    """Three records in a sample, chunks that cut through samples, and some never written."""

    @pytest.fixture(params=["direct chunks", "h5py"])
    def file(self, request, tmp_path):
        fill = np.zeros((), EVENT)
        fill["pt"], fill["jet"]["tag"], fill["jet"]["hits"]["xy"] = 2.5, b"no", [5, 6]
        with h5py.File(tmp_path / "a.h5", "w") as file:
            made = file.create_dataset(
                "table", (60, 3), EVENT, chunks=(8, 2), compression="gzip", fillvalue=fill
            )
            made[10:30, :2] = events(20, (2,))
        return tmp_path / "a.h5", request.param

    @pytest.fixture
    def source(self, file):
        return opened(file[0], list(MEMBERS), file[1])

    @pytest.fixture
    def oracle(self, file):
        with h5py.File(file[0], "r") as stored:
            return oracle_of(stored["table"][()])

    def test_takes_the_expected_path(self, source, file):
        assert {path.path for path in source.read_paths().values()} == {file[1]}


class TestMembersOfElementsThatAreArrays(SourceTests):
    """Each row holds an array of compound values."""

    @pytest.fixture(params=[{}, {"chunks": (7,), "compression": "gzip"}, {"chunks": (7,)}])
    def file(self, request, tmp_path):
        values = np.zeros((60, 4), HIT)
        values["t"], values["xy"] = np.arange(240).reshape(60, 4), np.arange(480).reshape(60, 4, 2)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            made = file.create_dataset("hits", (60,), np.dtype((HIT, (4,))), **request.param)
            made[...] = values
        return tmp_path / "a.h5", values

    @pytest.fixture
    def source(self, file):
        return HDF5Source(file[0], ["hits['xy']", "hits['t']"])

    @pytest.fixture
    def oracle(self, file):
        return {"hits['xy']": file[1]["xy"].astype("i2"), "hits['t']": file[1]["t"].copy()}


class TestMembersBesideValuesOfVariableLength(SourceTests):
    """What a model can use, of records that it cannot."""

    @pytest.fixture(params=[{}, {"chunks": (7,), "compression": "gzip"}], ids=["rows", "gzip"])
    def source(self, request, tmp_path):
        values = np.zeros(50, PERSON)
        for k in range(50):
            values[k] = (f"n{k}" * k, k, ("s" * k, k * 3), np.arange(k), k / 4)
        write(tmp_path / "a.h5", people={"data": values, "dtype": PERSON, **request.param})
        return HDF5Source(
            tmp_path / "a.h5",
            ["people['age']", "people['address']['number']", "people['height']"],
        )

    @pytest.fixture
    def oracle(self):
        rows = np.arange(50)
        return {
            "people['age']": rows.astype("i4"),
            "people['address']['number']": (rows * 3).astype("i2"),
            "people['height']": (rows / 4).astype("f4"),
        }

    def test_the_report_says_why(self, source):
        (path,) = set(source.read_paths().values())
        assert (path.path, path.reason) == (
            "h5py",
            "its compound values also have members of variable length",
        )


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "table.h5", table=events(), label=np.arange(60))


def test_names_reach_the_model_as_they_were_written(table):
    data = hr.from_hdf5(
        table, x={"id": "table['id']", "jet": 'table["jet"]["pt"]'}, y="table['weights']"
    )
    assert data.spec.x == {"id": "table['id']", "jet": 'table["jet"]["pt"]'}
    x, y = data[5:9]
    assert (x["jet"] == events()["jet"]["pt"][5:9]).all()
    assert y.shape == (4, 2, 2)


def test_members_of_an_epoch_belong_together(table):
    data = hr.from_hdf5(table, x=["table['id']", "table['jet']['tag']"], y="label")
    for (ids, tags), rows in data.batch(7, shuffle=True, seed=0):
        assert (ids == events()["id"][rows]).all()
        assert (tags == events()["jet"]["tag"][rows]).all()


def test_a_target_from_a_table_does_not_make_the_table_the_input(table):
    """It would hold the target."""
    assert hr.from_hdf5(table, y="table['id']").spec.x == "label"
    write(table, table=events())
    with refused(FieldNotFoundError, "is x?", "no datasets besides"):
        hr.from_hdf5(table, y="table['id']")


def test_a_record_is_decoded_once_for_all_its_members(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", table={"data": events(56), "chunks": (7,), "compression": "gzip"})
    source = HDF5Source(tmp_path / "a.h5", list(MEMBERS))
    calls = []
    right = FilterPipeline.decode
    monkeypatch.setattr(FilterPipeline, "decode", lambda *args: (calls.append(1), right(*args)))
    out = {name: np.empty_like(array[:56]) for name, array in oracle_of(events(56)).items()}
    for read in source.reads(np.arange(56), out):
        read()
    assert len(calls) == 8


def test_a_record_is_read_through_h5py_once_for_all_its_members(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", table={"data": events(56), "chunks": (7,), "compression": "lzf"})
    source = opened(tmp_path / "a.h5", list(MEMBERS), "h5py")
    calls = []
    right = library.fill
    monkeypatch.setattr(library, "fill", lambda *args: (calls.append(1), right(*args)))
    out = {name: np.empty_like(array) for name, array in oracle_of(events(56)).items()}
    for read in source.reads(np.arange(56), out):
        read()
    assert len(calls) == 1


@pytest.mark.parametrize("wide", [False, True])
def test_scattered_members_are_read_without_the_rest_of_their_records(tmp_path, wide):
    """And neighbours too, where the rest fills pages of its own."""
    dtype = np.dtype([("image", "u1", (6000 if wide else 100,)), ("a", "i2"), ("b", "i4")])
    values = np.zeros(300, dtype)
    values["a"], values["b"], values["image"] = np.arange(300), np.arange(300) * 7, 9
    write(tmp_path / "a.h5", table=values)
    source = HDF5Source(tmp_path / "a.h5", ["table['b']", "table['a']"])

    def stored(rows):
        out = {"table['a']": np.empty(len(rows), "i2"), "table['b']": np.empty(len(rows), "i4")}
        cost = source.read_rows(rows, out)
        assert (out["table['a']"] == rows).all()
        assert (out["table['b']"] == rows * 7).all()
        return cost.stored

    assert stored(np.random.default_rng(0).permutation(300)) == 300 * 6
    assert stored(np.arange(300)) == 300 * (6 if wide else dtype.itemsize)


NUMBERS = itertools.count()
PLAIN = st.sampled_from(["<i2", ">i4", "u1", "<f8", ">f4", "?", "S3", "<c8", "V2"])
SHAPES = st.sampled_from([(), (1,), (2,), (2, 3)])


@st.composite
def compound(draw, depth=2):
    """A dtype of one to four members, some of them compound or arrays, with gaps between them."""
    inner = PLAIN if depth == 0 else st.one_of(PLAIN, PLAIN, compound(depth - 1))
    names = draw(st.lists(st.sampled_from(list("abcdef")), min_size=1, max_size=4, unique=True))
    formats = [np.dtype((draw(inner), draw(SHAPES))) for _ in names]
    offsets, end = [], 0
    for part in formats:
        offsets.append(end + draw(st.integers(0, 3)))
        end = offsets[-1] + part.itemsize
    size = end + draw(st.integers(0, 3))
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def paths_of(dtype):
    """Every way from an element to something in it."""
    yield ()
    for name in dtype.base.names or ():
        yield from ((name, *more) for more in paths_of(dtype.base[name]))


@given(compound(), st.sampled_from(list(STORAGE)), st.data())
@settings(max_examples=150)
def test_any_members_of_any_record_are_what_numpy_picks(tmp_path, dtype, storage, data):
    path = tmp_path / f"{next(NUMBERS)}.h5"
    shape = (13, *data.draw(st.sampled_from([(), (3,)])))
    raw = np.random.default_rng(0).integers(0, 2, (*shape, dtype.itemsize), np.uint8)
    options = dict(STORAGE[storage][0])
    if "chunks" in options:
        options["chunks"] = (4, *shape[1:])
    with h5py.File(path, "w") as file:
        file.create_dataset("t", data=raw.view(dtype)[..., 0], **options)
    with h5py.File(path, "r") as file:
        values = file["t"][()]
    some = st.lists(st.sampled_from(list(paths_of(dtype))), min_size=1, max_size=4, unique=True)
    members = {"t" + "".join(f"['{m}']" for m in names): names for names in data.draw(some)}
    source = HDF5Source(path, list(members))
    oracle = oracle_of(values, members)
    check_reads(source, oracle, np.arange(13))
    check_reads(source, oracle, np.array([0, 3, 4, 5, 11]))
    check_any_order(source, oracle)
