"""Where a model may be saved, and that it is saved whole or not at all."""

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.cli.output import check_output, published
from headrace.errors import MissingFileError, OptionError


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


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from headrace.cli.output import check_output
from headrace.errors import NoPermissionError
if os.geteuid() == 0:  # root may write anywhere
    os.setuid(65534)
try:
    check_output(Path(sys.argv[1]))
except NoPermissionError:
    print("refused")
"""


def test_refuses_a_folder_without_permission():
    """Found before training, not after."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, f"{folder}/model.keras"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


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
