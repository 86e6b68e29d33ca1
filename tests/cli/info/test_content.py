"""Advice on rows: sorted by class, never written, too many or too few, or datasets of their own."""

import h5py
import numpy as np
import pytest

import headrace as hr
from tests.cli.info.helpers import repeated, run_in_shell
from tests.files import gzip, images, write


@pytest.mark.parametrize(
    "label",
    [
        np.repeat(np.arange(4), 500),
        np.repeat([1, 0, 1], [900, 500, 600]),
        np.repeat(np.arange(20), 100).reshape(-1, 1),
        np.repeat([True, False], 1000),
        np.sort(np.random.default_rng(0).integers(0, 50, 2000)).astype("u1"),
    ],
    ids=["sorted", "three runs", "a column", "bool", "many classes"],
)
def test_labels_in_order_are_named(advice, path, label):
    """With the split that mixes them."""
    write(path, image=images(2000), label=label)
    one = advice(path)["sorted-rows"]
    assert one["datasets"] == ["label"]
    assert f"{len(np.unique(label))} values, in runs of about" in one["text"]
    assert "exact: a uniform permutation" in one["text"]
    train, val = eval(one["command"], {"hr": hr})
    assert (len(train), len(val)) == (1600, 400)
    assert set(np.unique(val[:][1])) == set(np.unique(label))


@pytest.mark.parametrize(
    "label",
    [
        np.random.default_rng(0).integers(0, 2, 2000),
        np.arange(2000) % 10,
        np.arange(2000),
        np.zeros(2000, int),
        np.arange(2000) // 2,
        np.repeat([0, 1], [1995, 5])[np.random.default_rng(0).permutation(2000)],
        np.sort(np.random.default_rng(0).random(2000)),
    ],
    ids=["mixed", "in turn", "numbers", "one class", "pairs", "rare", "not classes"],
)
def test_other_columns_are_not(advice, path, label):
    write(path, image=images(2000), label=label)
    assert "sorted-rows" not in advice(path)


@pytest.mark.parametrize("storage", [{}, {"chunks": (5000,), "compression": "gzip"}], ids=str)
def test_long_columns_are_sampled(advice, path, storage):
    """A few megabytes are read of what may be gigabytes."""
    n = 3_000_000
    write(
        path,
        image=np.ones((n, 1), "u1"),
        label={"data": np.repeat(np.arange(1000), n // 1000), **storage},
        mixed={"data": np.random.default_rng(0).integers(0, 1000, n), **storage},
    )
    one = advice(path)["sorted-rows"]
    assert one["datasets"] == ["label"]
    assert "values were seen, in runs of" in one["text"]


def test_rows_that_nobody_wrote_are_named(all_advice, path):
    with h5py.File(path, "w") as file:
        file.create_dataset("contiguous", (50, 5), "i2")
        file.create_dataset("chunks", (50, 5), "i2", chunks=(10, 5))
        tail = file.create_dataset("tail", (50, 5), "i2", chunks=(10, 5), compression="gzip")
        tail[:33] = 1
        holes = file.create_dataset("holes", (50, 5), "i2", chunks=(10, 5))
        holes[:10] = holes[40:] = 1
    found = {one["datasets"][0]: one for one in all_advice(path)}
    assert found["contiguous"]["kind"] == found["chunks"]["kind"] == "never-written"
    assert "all 50 rows" in found["chunks"]["text"]
    assert "1 of its 5 chunks" in found["tail"]["text"]
    assert "Rows 40 to 49" in found["tail"]["text"]
    assert len(eval(found["tail"]["command"], {"hr": hr})) == 40
    assert "3 of its 5 chunks" in found["holes"]["text"]
    assert found["holes"]["command"] is None


@pytest.mark.parametrize("rows", [(50, 50, 49), (51, 50, 50)], ids=["shorter", "longer"])
def test_fields_of_nearly_one_length_are_used_as_far_as_all_go(advice, path, rows):
    image = images(rows[0])
    write(path, image=gzip(image, 8), label=np.arange(rows[1]), weight=np.ones(rows[2]))
    one = advice(path)["unequal-lengths"]
    assert f"{max(rows)}" in one["text"]
    data = eval(one["command"], {"hr": hr})
    assert len(data) == min(rows)
    assert data.spec.parts == ("image", "label", "weight")
    batches = list(data.batch(20, shuffle=True))
    label = np.concatenate([batch[1] for batch in batches])
    assert sorted(label) == list(range(min(rows)))
    assert (np.concatenate([batch[0] for batch in batches]) == image[label]).all()


def test_parts_of_different_lengths_are_fine(advice, path):
    """As of training and validation."""
    write(path, a=images(50), b=np.arange(50), c=images(49), d=np.arange(49), e=images(20))
    assert "unequal-lengths" not in advice(path)


def test_samples_that_are_datasets_are_joined_by_the_command(advice, path):
    with h5py.File(path, "w") as file:
        for i in range(1000):
            file[f"train/{i}"] = np.full((4, 4), i, "u2")
    one = advice(path)["samples-apart"]
    assert "1,000 objects" in one["text"]
    made = run_in_shell(one["command"])
    assert advice(made) == {}
    (x,) = hr.from_hdf5(made, x="data")[:]
    assert (x == np.arange(1000)[:, None, None]).all()
    with h5py.File(made) as file:
        assert file["name"][7] == b"7"


def test_order_that_shuffling_does_not_even_out_is_said(advice, path):
    """Where a window holds few blocks of the images that the labels belong to."""
    with h5py.File(path, "w") as file:
        repeated(file, "image", (20_000, 3072), (1000, 3072))
        file["label"] = np.repeat(np.arange(10), 2000)
    found = advice(path, "--memory", "16MB")
    assert "evens that out in part (windows of" in found["sorted-rows"]["text"]
    assert "large-chunks" in found
    assert "evens that out (exact" in advice(path, "--memory", "200MB")["sorted-rows"]["text"]
    assert "needs more than 1.0 MB" in advice(path, "--memory", "1MB")["sorted-rows"]["text"]


def test_lengths_that_are_not_what_most_have_are_no_measure(advice, path):
    """Two of one length among ten of others say nothing about a third."""
    write(path, a=np.arange(100), b=np.arange(100), c=np.arange(97))
    assert "c" in advice(path)["unequal-lengths"]["datasets"]
    others = {f"d{n}": np.arange(n) for n in range(10, 90, 10)}
    write(path, a=np.arange(100), b=np.arange(100), c=np.arange(97), **others)
    assert "unequal-lengths" not in advice(path)
