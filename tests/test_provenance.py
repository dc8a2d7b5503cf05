"""What a results file says it was made of."""

import hashlib
import shlex

import pytest

from ccr_diag.provenance import provenance, sha256
from ccr_diag.runs import versions

COMMAND = ["ccr-diag", "analyze", "predictions", "my file.npz", "--fail-if", "ece>0.1", "$HOME;`x`"]


def run(folder, content, seed=None):
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(content)
    (folder / "metrics.jsonl").write_text("{}")
    if seed is not None:
        (folder / "config.toml").write_text(f'loss = "bce"\nseed = {seed}\n')
    return folder


def test_the_command_can_be_pasted_into_a_shell():
    command = provenance(COMMAND, [])["command"]
    assert shlex.split(command) == COMMAND
    assert "'my file.npz'" in command


def test_versions_are_those_of_this_machine_and_nothing_is_dated():
    made = provenance(COMMAND, [])
    assert made == {"command": shlex.join(COMMAND), "versions": versions(), "inputs": []}
    assert provenance(COMMAND, []) == made


def test_files_are_named_as_given_with_their_digest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = b"abc" * 100_000
    (tmp_path / "a.npz").write_bytes(content)
    (file,) = provenance([], [tmp_path.relative_to(tmp_path) / "a.npz"])["inputs"]
    assert file == {"path": "a.npz", "sha256": hashlib.sha256(content).hexdigest()}
    assert sha256(tmp_path / "a.npz") == file["sha256"]


def test_of_a_run_the_checkpoint_of_each_split_counts_with_its_settings(tmp_path):
    whole, alone = tmp_path / "bce", run(tmp_path / "ccr", b"3")
    for seed in (1, 2):
        run(whole / f"split-{seed}", str(seed).encode(), seed)
    files = provenance([], [whole, alone])["inputs"]
    name = "checkpoint.safetensors"
    assert [file["path"] for file in files] == [
        str(whole / "split-1" / name), str(whole / "split-2" / name), str(alone / name)
    ]  # fmt: skip
    assert [file["sha256"] for file in files] == [
        hashlib.sha256(content).hexdigest() for content in (b"1", b"2", b"3")
    ]
    assert [file.get("config") for file in files] == [
        {"loss": "bce", "seed": 1}, {"loss": "bce", "seed": 2}, None
    ]  # fmt: skip


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        provenance([], [tmp_path / "none.npz"])
