"""What a packed file says is x and y, and under which names its fields lie."""

import numpy as np
import pytest

import headrace as hr
from headrace.errors import FieldNotFoundError, OptionError
from tests.bad_input.refusal import refused
from tests.files import images, write

IMAGES = images(300)
LABELS = np.arange(300)


@pytest.mark.parametrize("size", [None, 48 * 100])
def test_fields_that_are_no_part_go_along(tmp_path, size):
    """A key to split by, under its name or a new one."""
    path = write(tmp_path / "in.h5", image=IMAGES, label=LABELS % 2, user=LABELS // 7, w=LABELS)
    whole = hr.from_hdf5(path, ["image", "user", "w"], "label")
    parts = {"x": "image", "y": "label", "names": {"image": "photo"}}
    packed = hr.pack(whole, tmp_path / "out", shard_size=size, **parts)
    assert packed.spec.parts == ("photo", "label")
    assert hr.verify(tmp_path / "out").ok
    one, other = packed.split(0.5, by="user", seed=3)
    assert not set(one[:][1]) - {0, 1}
    assert len(one) + len(other) == 300
    again = hr.open(tmp_path / "out", "photo", "label", sample_weight="w")
    assert again[:][2].tolist() == LABELS.tolist()
    named = hr.pack(whole, tmp_path / "dict.h5", x={"a": "image"}, y=["label"], sample_weight=["w"])
    assert named.spec.parts == ({"a": "image"}, ("label",), ("w",))
    left = hr.pack(whole, tmp_path / "left.h5", y="user")
    assert left.spec.parts == (("image", "w", "label"), "user")


@pytest.mark.parametrize(
    "parts, error, words",
    [
        ({"x": "photo"}, FieldNotFoundError, ["'photo'", "image"]),
        ({"x": 5}, OptionError, ["x= to be the name of a field"]),
        ({"sample_weight": "label"}, OptionError, ["needs y="]),
    ],
)
def test_parts_that_are_no_fields_are_refused(tmp_path, parts, error, words):
    data = hr.from_hdf5(write(tmp_path / "in.h5", image=IMAGES, label=LABELS), "image", "label")
    with refused(error, *words):
        hr.pack(data, tmp_path / "out.h5", **parts)
    assert not (tmp_path / "out.h5").exists()


def test_ways_around_to_a_dataset_give_it_its_plain_name(tmp_path):
    path = write(tmp_path / "in.h5", **{"g/image": IMAGES, "label": LABELS})
    packed = hr.pack(hr.from_hdf5(path, "/g/image", "./label"), tmp_path / "out.h5")
    assert packed.spec.parts == ("g/image", "label")
