"""The contract of a source, held to arrays in all their forms, alone and side by side."""

import numpy as np
import pytest

from headrace.sources.arrays import array_source
from headrace.sources.zipped import Member, ZipSource
from headrace.testing import SourceTests
from tests.sources.array_forms import FORMS, IMAGES, LABELS, TABLE, Sliced


@pytest.fixture(scope="class", params=FORMS, ids=lambda form: form.__name__)
def form(request, tmp_path_factory):
    """An array in one form, and its values."""
    return request.param(tmp_path_factory.mktemp("arrays"))


class TestArrays(SourceTests):
    """Every form."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, form):
        return array_source("data", form[0])

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls, form):
        return {"data": np.ascontiguousarray(form[1])}


class TestBeside(SourceTests):
    """Fields of several sources, from other rows on and under other names."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory):
        path = tmp_path_factory.mktemp("beside") / "x.npy"
        np.save(path, IMAGES)
        members = [
            Member(array_source("x", path), {"photo": "x"}, 100),
            Member(array_source("y", Sliced(LABELS)), {"label": "y"}, 50, 250),
            Member(array_source("x", TABLE), {"row": "x"}, 0, 200),
        ]
        return ZipSource(members)

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls):
        return {"photo": IMAGES[100:], "label": LABELS[50:250], "row": TABLE[:200]}

    def test_blocks_are_those_of_what_is_read_in_blocks(self, source):
        alone = array_source("y", Sliced(LABELS)).block_offsets(["y"])
        inside = alone[(alone > 50) & (alone < 250)] - 50
        assert source.block_offsets(["photo", "label"]).tolist() == [0, *inside.tolist(), 200]
