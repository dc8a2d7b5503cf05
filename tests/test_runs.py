import errno
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from ccr_diag.errors import OutputExists, RunFailed
from ccr_diag.runs import (
    CONFIG,
    DONE,
    OWN_NAMES,
    output_folder,
    prepare_output,
    split_file,
    versions,
    write_atomically,
    write_text,
)

# What writers raise on a full disk, as seen on one: Python, safetensors 0.8, numpy 2.4.
FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    OSError("67072 requested and 6112 written"),
]


@pytest.mark.parametrize("error_of_writer", FULL, ids=["python", "safetensors", "numpy"])
def test_a_failed_write_leaves_the_old_file_and_no_partial_one(
    tmp_path, monkeypatch, error_of_writer
):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))

    def fail(partial):
        partial.write_text("half")
        raise error_of_writer

    with pytest.raises(RunFailed, match="there is none left for .*a.txt; free some"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no"), OSError("odd"), SafetensorError("odd")]
)
def test_other_write_errors_pass_through(tmp_path, error):
    def fail(partial):
        raise error

    with pytest.raises(type(error)):
        write_atomically(tmp_path / "a", fail)


@pytest.mark.parametrize("name", [DONE, CONFIG, "results.csv"])
def test_the_partial_file_of_a_killed_run_is_its_own(tmp_path, name):
    kept: list[Path] = []
    with suppress(KeyboardInterrupt):
        write_atomically(tmp_path / name, partial(_stop, kept))
    (tmp_path / kept[0].name).touch()  # a killed program cleans nothing up
    prepare_output(tmp_path, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def _stop(kept, path):
    kept.append(path)
    raise KeyboardInterrupt


def test_an_output_folder_is_used_only_when_nothing_is_lost(tmp_path):
    folder = tmp_path / "run"
    prepare_output(folder)
    prepare_output(folder)  # still empty
    write_text(folder / DONE, "")
    with pytest.raises(OutputExists, match="add --resume .* --overwrite"):
        prepare_output(folder)
    prepare_output(folder, resume=True)
    assert (folder / DONE).exists()
    prepare_output(folder, overwrite=True)
    assert list(folder.iterdir()) == []
    (folder / "thesis.docx").touch()
    with pytest.raises(OutputExists, match="also holds 'thesis.docx'"):
        prepare_output(folder, overwrite=True)
    assert (folder / "thesis.docx").exists()
    (folder / "runs" / "mine").mkdir(parents=True)
    (folder / "thesis.docx").rename(folder / "runs" / "mine" / "thesis.docx")
    with pytest.raises(OutputExists, match=r"also holds 'runs/mine/thesis.docx'"):
        prepare_output(folder, overwrite=True)
    (folder / "runs" / "mine" / "thesis.docx").rename(folder / "thesis.docx")
    with pytest.raises(OutputExists, match="is a file"):
        prepare_output(folder / "thesis.docx")


def test_what_is_refused_at_once_leaves_the_output_as_it_was(tmp_path):
    folder = tmp_path / "a" / "run"
    with pytest.raises(KeyError), output_folder(folder):
        raise KeyError
    assert not folder.exists()
    write_text(folder / DONE, "old")
    with pytest.raises(OutputExists, match="add --resume"), output_folder(folder):
        pass
    with pytest.raises(StopIteration), output_folder(folder, overwrite=True):
        next(folder.iterdir())  # nothing is there
    with pytest.raises(KeyError), output_folder(folder, resume=True):
        raise KeyError
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    assert (folder / DONE).read_text() == "old"


def test_a_link_and_the_current_folder_are_replaced_as_well(tmp_path, monkeypatch):
    real, link = tmp_path / "real", tmp_path / "link"
    write_text(real / CONFIG, "old")
    link.symlink_to(real)
    for folder in (link, Path()):
        monkeypatch.chdir(real)
        with output_folder(folder, overwrite=True):
            write_text(real / CONFIG, "new")
        assert link.is_symlink()
        assert [p.read_text() for p in real.rglob("*.toml")] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_what_has_begun_replaces_the_output(tmp_path):
    folder = tmp_path / "run"
    write_text(folder / CONFIG, "old")
    with suppress(KeyboardInterrupt), output_folder(folder, overwrite=True):
        write_text(folder / "split-1" / CONFIG, "new")
        raise KeyboardInterrupt
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.toml")] == [
        "run/split-1/config.toml"
    ]
    with output_folder(folder, overwrite=True):
        write_text(folder / CONFIG, "newest")
    assert [p.read_text() for p in tmp_path.rglob("*.toml")] == ["newest"]
    (folder / "thesis.docx").touch()
    with pytest.raises(OutputExists, match="thesis"), output_folder(folder, overwrite=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_killed_replacement_is_settled_by_the_next(tmp_path, begun):
    write_text(tmp_path / ".run.replaced" / CONFIG, "old")
    if begun:
        write_text(tmp_path / "run" / CONFIG, "new")
    else:
        (tmp_path / "run").mkdir()
    with pytest.raises(OutputExists, match="holds files"), output_folder(tmp_path / "run"):
        pass
    assert [p.read_text() for p in tmp_path.rglob("*.toml")] == ["new" if begun else "old"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_to_be_read_is_not_deleted(tmp_path):
    write_text(tmp_path / "out" / "runs" / "bce" / DONE, "")
    for read in ("out", "out/runs/bce"):
        with pytest.raises(OutputExists, match="which is to be read"):
            prepare_output(tmp_path / "out", overwrite=True, keep=[tmp_path / read])
    prepare_output(tmp_path / "out", overwrite=True, keep=[tmp_path / "other"])
    assert list((tmp_path / "out").iterdir()) == []


def test_versions_name_what_numbers_depend_on():
    assert {"python", "ccr-diag", "torch", "numpy"} <= set(versions())


def test_files_of_models_are_readable_and_never_of_two():
    assert split_file("bce+ccr (mean bias)", 2) == "bce-ccr-mean-bias-split-2.npz"
    folders = ("猫", "犬", "☃", "☁", "a b", "a-b", "A-b", "mean bias", "é", "e", "x" * 300)
    models = [f"bce [{folder}]" for folder in folders] + ["bce (mean bias)", "bce"]
    files = [split_file(model, 1) for model in models]
    assert len({file.lower() for file in files}) == len(models)
    assert files[0].startswith("bce-猫-")
    assert all(OWN_NAMES.fullmatch(file) for file in files)
    assert all(len(f".{file}".encode()) < 240 for file in files)
    assert not OWN_NAMES.fullmatch("My_data-split-1.npz")
