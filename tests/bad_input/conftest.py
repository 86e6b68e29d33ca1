"""The file that bad input is about."""

import numpy as np
import pytest

from tests.bad_input.refusal import IMAGES
from tests.files import write


@pytest.fixture
def path(tmp_path):
    """Where a test writes its file."""
    return tmp_path / "cats.h5"


@pytest.fixture
def cats(path):
    """Fifty images and labels."""
    return write(path, image=IMAGES, label=np.arange(50), **{"meta/age": np.arange(50.0)})
