"""The wheel is the whole package: installed without the repository, it writes and checks the quickstart."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "drp_ray"
NO_DATA = (".py", ".pyc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of, so that the repository stays clean."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(PACKAGE, source / "drp_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--target", str(folder), str(wheel))
    return folder


def pip(command: str, *arguments: str) -> None:
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    run([sys.executable, "-m", "pip", command, *options, *arguments], REPOSITORY.parent)


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_installed(installed: Path, folder: Path, *arguments: str) -> str:
    """Run Python with the installed wheel and the environment's libraries.

    -S leaves the environment's .pth files out: one of them adds the repository, where it is installed editable.
    """
    libraries = dict.fromkeys([str(installed), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    return run([sys.executable, "-S", *arguments], folder, PYTHONPATH=os.pathsep.join(libraries))


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    data = [str(path.relative_to(REPOSITORY)) for path in files if path.suffix not in NO_DATA]
    assert {"drp_ray/py.typed", "drp_ray/data/quickstart.yaml", "drp_ray/prompts/default/system.j2"} <= set(data)
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(set(data) - set(names)) == []
    modules = [str(path.relative_to(REPOSITORY)) for path in files if path.suffix == ".py"]
    assert sorted(set(modules) - set(names)) == []


def test_the_installed_package_is_not_the_repository(installed, tmp_path):
    file = run_installed(installed, tmp_path, "-c", "import drp_ray; print(drp_ray.__file__)").strip()
    assert Path(file).is_relative_to(installed)


def test_the_installed_package_writes_the_quickstart_and_accepts_it(installed, tmp_path):
    command = ["-m", "drp_ray"]
    written = run_installed(installed, tmp_path, *command, "quickstart", "--write-only")
    assert written.splitlines()[-1] == "To run the job: drp-ray run quickstart.yaml"
    assert {path.name for path in tmp_path.iterdir()} == {"quickstart.yaml", ".quickstart"}
    checked = run_installed(installed, tmp_path, *command, "validate", "quickstart.yaml")
    assert "48 users; configuration and dataset are valid" in checked
