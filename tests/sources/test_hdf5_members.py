"""Members of compound values, picked by name: what h5py gives, and each record read once."""

import itertools
import re

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import DataError, FieldNotFoundError, TypeNotSupportedError
from penstock.sources.hdf5 import HDF5Source, library
from penstock.sources.hdf5.pipeline import Pipeline
from penstock.testing import SourceTests, check_any_order, check_reads
from tests.bad_input.refusal import refused
from tests.files import damage, write

HIT = np.dtype([("t", "<f4"), ("xy", ">i2", (2,))])
JET = np.dtype([("pt", ">f8"), ("hits", HIT, (3,)), ("tag", "S3")])
EVENT = np.dtype(
    {
        "names": ["id", "pt", "jet", "weights", "good", "it's"],
        "formats": ["<i4", ">f4", JET, ("<f4", (2, 2)), "?", "<u2"],
        "offsets": [0, 8, 16, 80, 100, 104],
        "itemsize": 120,
    }
)
MEMBERS = {
    "table['id']": ("id",),
    'table["pt"]': ("pt",),
    "table['jet']['pt']": ("jet", "pt"),
    "table['jet'][\"hits\"]": ("jet", "hits"),
    "table['jet']['hits']['xy']": ("jet", "hits", "xy"),
    "table['jet']['tag']": ("jet", "tag"),
    "table['weights']": ("weights",),
    "table['good']": ("good",),
    'table["it\'s"]': ("it's",),
}


def events(n=60, shape=()):
    """Random values in all members, and zeros between them."""
    rng = np.random.default_rng(1)
    values = np.zeros((n, *shape), EVENT)
    values["id"] = rng.integers(0, 1000, values.shape)
    values["pt"] = rng.random(values.shape)
    values["jet"]["pt"] = rng.random(values.shape)
    values["jet"]["tag"] = rng.choice([b"b", b"c", b"tau"], values.shape)
    values["jet"]["hits"]["t"] = rng.random((*values.shape, 3))
    values["jet"]["hits"]["xy"] = rng.integers(-99, 99, (*values.shape, 3, 2))
    values["weights"] = rng.random((*values.shape, 2, 2))
    values["good"] = rng.integers(0, 2, values.shape)
    values["it's"] = rng.integers(0, 1000, values.shape)
    return values


def oracle_of(values, members=MEMBERS):
    """What NumPy picks from the whole table, in native order."""
    found = {}
    for name, path in members.items():
        picked = values
        for member in path:
            picked = picked[member]
        found[name] = np.ascontiguousarray(picked.astype(picked.dtype.newbyteorder("=")))
    return found


STORAGE = {
    "contiguous": ({}, "direct rows"),
    "raw": ({"chunks": (7,)}, "direct rows"),
    "gzip": ({"chunks": (7,), "compression": "gzip", "shuffle": True}, "direct chunks"),
    "h5py": ({"chunks": (7,), "compression": "lzf"}, "h5py"),
}


def opened(path, names, way):
    """A source that reads through h5py if it is told to."""
    with pytest.MonkeyPatch.context() as patch:
        if way == "h5py":
            patch.setenv("PENSTOCK_HDF5", "h5py")
        return HDF5Source(path, names)


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
        assert {path.path for path in source.paths().values()} == {stored[1]}


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
        with h5py.File(file[0], "r") as opened:
            return oracle_of(opened["table"][()])

    def test_takes_the_expected_path(self, source, file):
        assert {path.path for path in source.paths().values()} == {file[1]}


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


PERSON = np.dtype(
    [
        ("name", h5py.string_dtype()),
        ("age", "<i4"),
        ("address", [("street", h5py.string_dtype()), ("number", ">i2")]),
        ("friends", h5py.vlen_dtype("i4")),
        ("height", "<f4"),
    ]
)


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
        (path,) = set(source.paths().values())
        assert (path.path, path.reason) == (
            "h5py",
            "values of variable length are stored beside it",
        )


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "table.h5", table=events(), label=np.arange(60))


def test_names_reach_the_model_as_they_were_written(table):
    data = ps.from_hdf5(
        table, x={"id": "table['id']", "jet": 'table["jet"]["pt"]'}, y="table['weights']"
    )
    assert data.spec.x == {"id": "table['id']", "jet": 'table["jet"]["pt"]'}
    x, y = data[5:9]
    assert (x["jet"] == events()["jet"]["pt"][5:9]).all()
    assert y.shape == (4, 2, 2)


def test_members_of_an_epoch_belong_together(table):
    data = ps.from_hdf5(table, x=["table['id']", "table['jet']['tag']"], y="label")
    for (ids, tags), rows in data.batch(7, shuffle=True, seed=0):
        assert (ids == events()["id"][rows]).all()
        assert (tags == events()["jet"]["tag"][rows]).all()


def test_a_target_from_a_table_does_not_make_the_table_the_input(table):
    """It would hold the target."""
    assert ps.from_hdf5(table, y="table['id']").spec.x == "label"
    write(table, table=events())
    with refused(FieldNotFoundError, "is x?", "no other dataset"):
        ps.from_hdf5(table, y="table['id']")


def test_a_record_is_decoded_once_for_all_its_members(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", table={"data": events(56), "chunks": (7,), "compression": "gzip"})
    source = HDF5Source(tmp_path / "a.h5", list(MEMBERS))
    calls = []
    right = Pipeline.decode
    monkeypatch.setattr(Pipeline, "decode", lambda *args: (calls.append(1), right(*args)))
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


# Names.


def test_a_dataset_of_that_name_comes_first(tmp_path):
    write(
        tmp_path / "a.h5",
        **{"table": events(5), "table['id']": np.arange(5), "a['b']": events(5)},
    )
    data = ps.from_hdf5(tmp_path / "a.h5", x=["table['id']", "table['good']", "a['b']['id']"])
    assert (data[:][0][0] == np.arange(5)).all()
    assert (data[:][0][2] == events(5)["id"]).all()


def test_groups_and_links_lead_to_tables(tmp_path):
    write(tmp_path / "a.h5", **{"run/1/table": events(5)})
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["last"] = h5py.SoftLink("/run/1")
    for name in ("run/1/table['id']", "last/table['id']", "/run/1/table/['id']"):
        assert (ps.from_hdf5(tmp_path / "a.h5", x=name)[:][0] == events(5)["id"]).all()


@pytest.mark.parametrize(
    "name, parts",
    [
        (
            "table['ids']",
            ["'ids' in 'table' of", "Did you mean 'id'", "holds: id, pt, jet, weights"],
        ),
        ("table['PT']", ["Did you mean 'pt'"]),
        (
            "table['jet']['tags']",
            ["'tags' in \"table['jet']\" of", "Did you mean 'tag'", "pt, hits, tag."],
        ),
        ("table['jet']['hits']['z']", ["'z' in \"table['jet']['hits']\" of", "holds: t, xy."]),
        ("table['id']['x']", ["\"table['id']\" has no members", "without brackets"]),
        ("label['x']", ["'label' has no members", "without brackets"]),
        ("tabel['id']", ["'tabel'", "Did you mean 'table'"]),
        ("table[id]", ["'table[id]'", "Did you mean 'table'"]),
        ("table['']", ["Did you mean 'table'"]),
        ("['id']", ["It holds: label, table"]),
    ],
)
def test_a_member_that_is_not_there_lists_those_that_are(table, name, parts):
    with refused(FieldNotFoundError, str(table), *parts):
        ps.from_hdf5(table, x=name)


def test_a_whole_table_with_unusable_members_names_the_usable(tmp_path):
    write(tmp_path / "a.h5", people={"shape": (3,), "dtype": PERSON})
    usable = "Name the members that are usable: \"people['age']\", \"people['height']\"."
    with refused(TypeNotSupportedError, "'people'", "of variable length", usable):
        ps.from_hdf5(tmp_path / "a.h5", x="people")
    with refused(TypeNotSupportedError, "people['name']", "variable-length strings"):
        ps.from_hdf5(tmp_path / "a.h5", x="people['name']")
    with refused(TypeNotSupportedError, "people['friends']", "variable-length arrays"):
        ps.from_hdf5(tmp_path / "a.h5", x="people['friends']")
    with refused(TypeNotSupportedError, "people['address']", "people['address']['number']"):
        ps.from_hdf5(tmp_path / "a.h5", x="people['address']")


def test_a_member_of_a_group_is_refused(tmp_path):
    write(tmp_path / "a.h5", **{"run/table": events(5)})
    with refused(FieldNotFoundError, "'run' in", "is a group", "run/table"):
        ps.from_hdf5(tmp_path / "a.h5", x="run['table']")


def test_damage_names_the_table(tmp_path):
    write(tmp_path / "a.h5", table={"data": events(56), "chunks": (7,), "compression": "gzip"})
    damage(tmp_path / "a.h5", "table", 3)
    data = ps.from_hdf5(tmp_path / "a.h5", x=["table['id']", "table['pt']"])
    with pytest.raises(ps.errors.ReadError, match=re.escape("Rows 21 to 27 of 'table' in")):
        data[:]
    assert (data[28:][0][0] == events(56)["id"][28:]).all()


def test_a_circle_of_links_is_found_before_members(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["circle"] = h5py.SoftLink("/circle")
    with refused(DataError, "circle"):
        ps.from_hdf5(tmp_path / "a.h5", x="circle['a']")
