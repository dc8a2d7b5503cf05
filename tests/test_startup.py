"""``ccr-diag --help`` answers at once: it imports nothing that takes long."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "seaborn", "open_clip", "PIL"}


@pytest.fixture(scope="module")
def started() -> subprocess.CompletedProcess[str]:
    """``ccr-diag --help`` with every import listed on stderr, a line each."""
    command = [sys.executable, "-X", "importtime", "-m", "ccr_diag.cli", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_prints_the_commands(started):
    assert started.returncode == 0
    assert started.stdout.startswith("Usage: ccr-diag [OPTIONS] COMMAND [ARGS]...\n")


def test_help_imports_nothing_heavy(started):
    imported = {
        line.rsplit("|", 1)[1].strip() for line in started.stderr.splitlines() if "|" in line
    }
    assert {"click", "ccr_diag.errors"} <= imported
    assert imported & HEAVY == set()
