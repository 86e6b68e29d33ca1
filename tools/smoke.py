"""`make package`: builds the wheel and the sdist, and tests both.

Each is installed into a new environment that takes only the dependencies from the environment that
runs this program. The test therefore uses the package as `pip install headrace` installs it, and
not the source tree.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"

PROGRAM = """
import sys
from pathlib import Path

import h5py
import keras
import numpy as np

import headrace as hr

assert Path(hr.__file__).is_relative_to(sys.prefix), hr.__file__
with h5py.File("cats.h5", "w") as file:
    file["image"] = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
    file["label"] = np.arange(64) % 2
data = hr.from_hdf5("cats.h5", x="image", y="label")
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(data.batch(16, shuffle=True, seed=0), epochs=2, verbose=0)
assert np.isfinite(history.history["loss"]).all()
"""


def main() -> None:
    """Builds the wheel and the sdist, and tests both."""
    shutil.rmtree(DIST, ignore_errors=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    run(build, cwd=ROOT)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    check_contents(wheel, sdist)
    for package in (wheel, sdist):
        with tempfile.TemporaryDirectory() as folder:
            try_out(package, Path(folder))
        print(f"{package.name}: installs, trains, and has its command")


def check_contents(wheel: Path, sdist: Path) -> None:
    """Checks that the wheel contains only the package, and the sdist all that builds it."""
    with zipfile.ZipFile(wheel) as opened:
        inside = set(opened.namelist())
    folders = {name.split("/")[0] for name in inside}
    assert len(folders) == 2, folders
    assert {"headrace/py.typed", "headrace/testing.py"} <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside), inside
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= inside


def try_out(package: Path, folder: Path) -> None:
    """Installs a package without its dependencies in a new environment, and uses it."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    paths = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    # Adds the dependencies of this environment. Python does not process .pth files in that folder,
    # so the editable install of headrace in it is not visible.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    run([str(python), *install, "--no-build-isolation", str(package)], cwd=folder)
    run([str(python), "-c", PROGRAM], cwd=folder)
    command = str(folder / "env" / "bin" / "headrace")
    run([command, "--version"], cwd=folder)
    run([command, "info", "cats.h5", "--json"], cwd=folder)


def run(command: list[str], cwd: Path) -> None:
    """Runs a command; exits with its output if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["KERAS_BACKEND"] = "jax"
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
