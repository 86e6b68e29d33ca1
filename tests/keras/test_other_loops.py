"""The training loops of docs/other-loops.md, each on its own backend."""

import keras

from tests.pages import ROOT, make_files, run, section

SECTIONS = {"jax": "JAX", "torch": "PyTorch", "tensorflow": "TensorFlow"}


def test_the_loop_for_this_backend_runs_and_learns(tmp_path, monkeypatch, capsys):
    """Two epochs, each with the loss that it ended with."""
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    page = (ROOT / "docs" / "other-loops.md").read_text("utf-8")
    run(section(page, SECTIONS[keras.backend.backend()]), "docs/other-loops.md")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 0", "epoch 1"]
    for line in lines:
        assert float(line.split("loss ")[1].split(",")[0]) < 5
