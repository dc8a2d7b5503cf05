"""Who may import what: one door to each outside library, and torch only before the predictions."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("ccr_diag", "cli", "figures")
DOORS = {
    "click": ("cli/",),
    "matplotlib": ("figures/",),
    "seaborn": ("figures/",),
    "jinja2": ("figures/",),
    "numba": ("ccr_diag/metrics/compiled.py",),
    "pyarrow": (
        "ccr_diag/data/manifests/parquet.py",
        "ccr_diag/data/openimages.py",
        "ccr_diag/readers/parquet.py",
    ),
    "datasets": ("ccr_diag/data/hugging_face.py",),
    "yaml": ("ccr_diag/data/yolo.py",),
    "diffusers": ("ccr_diag/synthesis.py",),
    "transformers": ("ccr_diag/synthesis.py",),
    # causal_text.py runs the blocks of a text tower itself, and local_features.py the last steps
    # of an image tower, so they must know which they are;
    # pretrain.py trains the model that backbone.py then loads, so it must build it with open_clip.
    "open_clip": (
        "ccr_diag/backbone.py",
        "ccr_diag/pretrained.py",  # finds weights and preprocessing for backbone.py
        "ccr_diag/causal_text.py",
        "ccr_diag/local_features.py",
        "ccr_diag/embedded/pretrain.py",
    ),
}
OUTER = ("ccr_diag.cli", "ccr_diag.figures", "cli", "figures")
TORCH = ("torch", "torchvision", "open_clip", "timm")
WAIST = (
    "ccr_diag/arrays.py",
    "ccr_diag/alignment.py",
    "ccr_diag/associations.py",
    "ccr_diag/calibrating.py",
    "ccr_diag/calibration_split.py",
    "ccr_diag/calibrators/",
    "ccr_diag/checks.py",
    "ccr_diag/class_matrices.py",
    "ccr_diag/comparing.py",
    "ccr_diag/comparison_record.py",
    "ccr_diag/data/",  # before the predictions, and without torch all the same
    "ccr_diag/differences.py",
    "ccr_diag/effects.py",
    "ccr_diag/embeddings.py",
    "ccr_diag/epoch_log.py",
    "ccr_diag/figure_inputs.py",
    "ccr_diag/findings.py",
    "ccr_diag/measuring.py",
    "ccr_diag/merging.py",
    "ccr_diag/npy.py",
    "ccr_diag/paper/",
    "ccr_diag/predictions.py",
    "ccr_diag/provenance.py",
    "ccr_diag/records.py",
    "ccr_diag/report",
    "ccr_diag/results.py",
    "ccr_diag/sweep_table.py",
    "ccr_diag/table_files.py",
    "ccr_diag/training_curves.py",
    "ccr_diag/verdict.py",
    "ccr_diag/metrics/",
    "ccr_diag/readers/",
    "figures/",
)

SCRIPTS = ("figures/gallery/make.py",)  # run, never imported


def sources(*prefixes: str) -> list[str]:
    """Python files below the prefixes, as paths from the root."""
    found = (
        p.relative_to(ROOT).as_posix() for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py"))
    )
    return [path for path in found if path.startswith(prefixes)]


def imports(code: str) -> Iterator[str]:
    """Every module imported, also inside functions; ``from a import b`` gives a and a.b."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(paths: list[str], banned: tuple[str, ...]) -> list[str]:
    """“path imports module” for each import of a banned module or of a part of it."""
    return [
        f"{path} imports {module}"
        for path in paths
        for module in imports((ROOT / path).read_text())
        if any(module == name or module.startswith(f"{name}.") for name in banned)
    ]


def module_name(path: str) -> str:
    """The name under which a file is imported once installed."""
    inside = path if path.startswith("ccr_diag/") else f"ccr_diag/{path}"
    return inside.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_imports_are_found_wherever_they_stand():
    code = "import a.b as c\ndef f():\n    from d import e\n    from . import g\n"
    assert list(imports(code)) == ["a.b", "d", "d.e"]


@pytest.mark.parametrize("library", DOORS)
def test_each_outside_library_has_one_door(library):
    assert offenders([p for p in sources("") if not p.startswith(DOORS[library])], (library,)) == []


def test_doors_exist():
    assert all(sources(place) for places in DOORS.values() for place in places)


def test_library_knows_neither_the_command_line_nor_the_figures():
    assert offenders(sources("ccr_diag/"), OUTER) == []


def test_no_torch_after_the_predictions():
    assert all(sources(place) for place in WAIST)
    assert offenders(sources(*WAIST), TORCH) == []


def test_importing_everything_after_the_predictions_loads_no_torch():
    lines = [f"import {module_name(path)}" for path in sources(*WAIST) if path not in SCRIPTS]
    lines += ["import sys", f"print([name for name in {TORCH} if name in sys.modules])"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
