"""What is logged of each epoch, and read back."""

import json

import pytest

from ccr_diag.epoch_log import EpochRecord, append_epoch, read_epochs
from ccr_diag.errors import BadData
from ccr_diag.runs import LOG

LINE = {"epoch": 1, "loss": 0.5, "regularizer": 0.0, "dead": 0.0, "rate": 1e-5, "bias": -3.0}


def record(epoch: int, preservation: float | None = 0.75) -> EpochRecord:
    return EpochRecord(epoch, 1 / 3, 0.1, 0.0, 0.2, -1.5, preservation)


def test_epochs_are_read_as_they_were_added_and_a_later_one_is_replaced(tmp_path):
    for epoch in (1, 2, 3):
        append_epoch(tmp_path, record(epoch))
    append_epoch(tmp_path, record(2, None))
    assert read_epochs(tmp_path) == [record(1), record(2, None)]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line.get("NP@5") for line in lines] == [0.75, None]
    assert "NP@5" not in lines[1]


def test_logs_without_np_and_with_other_keys_are_read(tmp_path):
    (tmp_path / LOG).write_text(json.dumps(LINE | {"other": "x"}) + "\n")
    assert read_epochs(tmp_path) == [EpochRecord(1, 0.5, 0.0, 0.0, 1e-5, -3.0)]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"epoch": 1, "lo', "is damaged"),
        ("[1]", "is damaged"),
        (json.dumps({k: v for k, v in LINE.items() if k != "dead"}), "is without 'dead'"),
        (json.dumps(LINE | {"loss": "low"}), "is numbers"),
        (json.dumps(LINE | {"bias": None}), "is numbers"),
        (json.dumps(LINE | {"NP@5": True}), "is numbers"),
        (json.dumps(LINE | {"loss": float("nan")}), "is numbers"),
        (json.dumps(LINE | {"epoch": 0}), "whole one from 1"),
        (json.dumps(LINE | {"epoch": 1.5}), "whole one from 1"),
    ],
)
def test_a_line_that_is_no_epoch_is_named(tmp_path, line, text):
    (tmp_path / LOG).write_text(json.dumps(LINE) + "\n" + line + "\n")
    with pytest.raises(BadData, match=text) as error:
        read_epochs(tmp_path)
    assert f"line 2 of {tmp_path / LOG}" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_log_says_where_there_is_none(tmp_path):
    with pytest.raises(BadData, match=r"metrics.jsonl cannot be read \(No such file"):
        read_epochs(tmp_path)
