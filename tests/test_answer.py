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
