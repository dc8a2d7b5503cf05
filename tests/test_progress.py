import io
import sys

import pytest

from ccr_diag.cli.progress import Progress


def test_piped_progress_is_now_and_then_a_plain_line(capsys):
    progress = Progress("bce, split 1,")
    for done in range(1, 101):
        progress("steps", done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["bce, split 1, steps: 1 of 100", "bce, split 1, steps: 100 of 100"]


def test_on_a_terminal_a_bar_moves_and_goes_away(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress()
    progress("features", 1, 2)
    assert "features:  50%" in sys.stderr.getvalue()
    progress("steps", 1, 4)
    assert "steps:  25%" in sys.stderr.getvalue()
    progress("steps", 4, 4)
    assert progress.bar is None
    assert "\n" not in sys.stderr.getvalue().strip()


def test_a_unit_adds_speed_and_the_time_that_is_left_to_plain_lines(capsys, monkeypatch):
    clock = iter([100.0, 100.0, 100.0, 120.0, 120.0, 120.0, 125.0, 125.0, 125.0])
    monkeypatch.setattr("ccr_diag.cli.progress.time.monotonic", lambda: next(clock))
    progress = Progress(unit="images")
    for done in (400, 600, 1400):  # 400 were done before
        progress("features", done, 1400)
    assert capsys.readouterr().err.splitlines() == [
        "features: 400 of 1400",
        "features: 600 of 1400, 10.0 images/s, 01:20 left",
        "features: 1400 of 1400, 40.0 images/s, 00:00 left",
    ]


def test_on_a_terminal_speed_and_the_time_that_is_left_stand_in_the_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(unit="images")
    progress("features", 0, 9)
    progress("features", 3, 9)
    assert " images/s" in sys.stderr.getvalue()
    assert "<" in sys.stderr.getvalue()
    progress.close()


def test_nothing_goes_to_stdout(capsys):
    Progress()("steps", 1, 1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("marks", [[("", 0.0), ("loading", 2.4), ("tuning", 50.0)]])
def test_stage_seconds(marks):
    from ccr_diag.cli.demo import seconds

    assert seconds(marks) == "Seconds: loading 2, tuning 48, in all 50."
