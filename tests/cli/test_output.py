"""Where a model may be saved, and that it is saved whole or not at all."""

import os
from contextlib import suppress

import pytest

from penstock.cli.output import check_output, published
from penstock.errors import MissingFileError, NoPermissionError, OptionError


def test_a_new_name_in_a_folder_is_fine(tmp_path):
    """Nothing is written by the check."""
    check_output(tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, error",
    [
        ("model.h5", OptionError),
        ("model", OptionError),
        ("folder.keras", OptionError),
        ("missing/model.keras", MissingFileError),
    ],
)
def test_refuses_what_cannot_be_saved_to(tmp_path, name, error):
    """Suffix, folder in the file's place, missing folder."""
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(error):
        check_output(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_refuses_a_folder_without_permission(tmp_path):
    """Found before training, not after."""
    tmp_path.chmod(0o500)
    with pytest.raises(NoPermissionError):
        check_output(tmp_path / "model.keras")


def test_publishes_a_whole_file(tmp_path):
    """The old file stays until the new one is complete; nothing else is left."""
    path = tmp_path / "model.keras"
    path.write_text("old")
    with published(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.suffix == ".keras"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_keeps_the_old_file_when_writing_fails(tmp_path):
    """A failure leaves what was there, and no half-written file."""
    path = tmp_path / "model.keras"
    path.write_text("old")
    with suppress(RuntimeError), published(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_gets_the_usual_permissions(tmp_path):
    """As if it had been written in place."""
    (tmp_path / "usual").write_text("")
    with published(tmp_path / "model.keras") as part:
        part.write_text("")
    assert (tmp_path / "model.keras").stat().st_mode == (tmp_path / "usual").stat().st_mode
