"""No command that answers writes over a file that it reads, whichever option names it."""

import pytest

OTHERS = {
    "compare": ["--labels", "--class-names", "--groups", "--features"],
    "analyze predictions": ["--labels", "--class-names", "--groups", "--features"],
    "analyze embeddings": ["--images", "--class-names"],
    "analyze correlation": ["--labels", "--class-names", "--groups"],
}
N_FILES = dict.fromkeys(OTHERS, 2)


@pytest.mark.parametrize(
    ("command", "option"), [(c, o) for c, options in OTHERS.items() for o in ["", *options]]
)
def test_what_is_read_is_never_written_over(ccr, tmp_path, command, option):
    files = [tmp_path / f"{i}.npz" for i in range(N_FILES[command])]
    read = tmp_path / "read.txt"
    for path in [*files, read]:
        path.write_text("kept")
    taken, more = (read, [option, read]) if option else (files[-1], [])
    result = ccr(*command.split(), *files, *more, "-o", taken, "--overwrite")
    assert result.exit_code == 2
    assert "is a folder or one of the inputs; choose another --output" in result.stderr
    assert taken.read_text() == "kept"


def test_a_report_is_new_and_a_page_of_its_own(ccr, tmp_path):
    read, old = tmp_path / "a.npz", tmp_path / "old.html"
    for path in (read, old):
        path.write_text("kept")

    def refused(*args):
        result = ccr("analyze", "predictions", read, *args)
        assert (result.exit_code, result.stdout) == (2, "")
        return result.stderr

    assert "old.html exists; add --overwrite to replace it, or choose another --report" in refused(
        "--report", old
    )
    assert "must be a file named ….html, but got" in refused("--report", tmp_path / "new.txt")
    new = tmp_path / "new.html"
    assert "needs a file of its own" in refused("--report", new, "-o", new)
    assert {path.read_text() for path in (read, old)} == {"kept"}
    assert not new.exists()
