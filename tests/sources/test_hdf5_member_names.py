"""Names of members: what they lead to, and what is said where they lead to nothing."""

import re

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import DataError, FieldNotFoundError, TypeNotSupportedError
from tests.bad_input.refusal import refused
from tests.files import damage, write
from tests.sources.records import PERSON, events


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "table.h5", table=events(), label=np.arange(60))


def test_a_dataset_of_that_name_comes_first(tmp_path):
    write(
        tmp_path / "a.h5",
        **{"table": events(5), "table['id']": np.arange(5), "a['b']": events(5)},
    )
    data = hr.from_hdf5(tmp_path / "a.h5", x=["table['id']", "table['good']", "a['b']['id']"])
    assert (data[:][0][0] == np.arange(5)).all()
    assert (data[:][0][2] == events(5)["id"]).all()


def test_groups_and_links_lead_to_tables(tmp_path):
    write(tmp_path / "a.h5", **{"run/1/table": events(5)})
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["last"] = h5py.SoftLink("/run/1")
    for name in ("run/1/table['id']", "last/table['id']", "/run/1/table/['id']"):
        assert (hr.from_hdf5(tmp_path / "a.h5", x=name)[:][0] == events(5)["id"]).all()


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
        hr.from_hdf5(table, x=name)


def test_a_whole_table_with_unusable_members_names_the_usable(tmp_path):
    write(tmp_path / "a.h5", people={"shape": (3,), "dtype": PERSON})
    usable = "Name the members that are usable: \"people['age']\", \"people['height']\"."
    with refused(TypeNotSupportedError, "'people'", "of variable length", usable):
        hr.from_hdf5(tmp_path / "a.h5", x="people")
    with refused(TypeNotSupportedError, "people['name']", "variable-length strings"):
        hr.from_hdf5(tmp_path / "a.h5", x="people['name']")
    with refused(TypeNotSupportedError, "people['friends']", "variable-length arrays"):
        hr.from_hdf5(tmp_path / "a.h5", x="people['friends']")
    with refused(TypeNotSupportedError, "people['address']", "people['address']['number']"):
        hr.from_hdf5(tmp_path / "a.h5", x="people['address']")


def test_a_member_of_a_group_is_refused(tmp_path):
    write(tmp_path / "a.h5", **{"run/table": events(5)})
    with refused(FieldNotFoundError, "'run' in", "is a group", "run/table"):
        hr.from_hdf5(tmp_path / "a.h5", x="run['table']")


def test_damage_names_the_table(tmp_path):
    write(tmp_path / "a.h5", table={"data": events(56), "chunks": (7,), "compression": "gzip"})
    damage(tmp_path / "a.h5", "table", 3)
    data = hr.from_hdf5(tmp_path / "a.h5", x=["table['id']", "table['pt']"])
    with pytest.raises(hr.errors.ReadError, match=re.escape("Rows 21 to 27 of 'table' in")):
        data[:]
    assert (data[28:][0][0] == events(56)["id"][28:]).all()


def test_a_circle_of_links_is_found_before_members(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["circle"] = h5py.SoftLink("/circle")
    with refused(DataError, "circle"):
        hr.from_hdf5(tmp_path / "a.h5", x="circle['a']")
