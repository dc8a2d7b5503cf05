"""Items on pages, and the names of their files."""

import pytest

from ccr_diag.figures.paging import file_words, page_names, pages


@pytest.mark.parametrize(
    ("n", "lengths"), [(0, []), (1, [1]), (6, [6]), (7, [4, 3]), (13, [5, 4, 4])]
)
def test_items_stand_in_order_on_as_few_pages_as_hold_them(n, lengths):
    found = pages(range(n), 6)
    assert [len(page) for page in found] == lengths
    assert [item for page in found for item in page] == list(range(n))


def test_only_several_pages_are_numbered():
    assert page_names("map", 1) == ["map"]
    assert page_names("map", 2) == ["map_1", "map_2"]


@pytest.mark.parametrize(
    ("words", "part"),
    [("BCE + CCR (mean bias)", "bce_ccr_mean_bias"), ("../λ=10", "10"), ("犬", "")],
)
def test_any_words_are_part_of_a_file_name(words, part):
    assert file_words(words) == part


def test_long_words_fit_into_the_name_of_a_file():
    assert len(file_words("x " * 300)) <= 60
