"""Curves over a setting are tested by reading their artists back from a made-up results table."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sweep_frames import lambda_study, rows, zero_shot

from ccr_diag.errors import BadConfig, BadData
from ccr_diag.figures.curves import group_handles
from ccr_diag.figures.robustness import (
    draw_robustness,
    robustness_page,
    robustness_pictures,
    robustness_table,
)
from ccr_diag.figures.style import ESTIMATOR_LOOKS, LOOKS
from ccr_diag.sweep_table import check_table, summarise, write_table

CCR, BCE, ZERO = "BCE + CCR (prior bias)", "BCE (prior bias)", "Zero-shot (prior bias)"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return check_table(lambda_study(), "here")


def together(*parts) -> pd.DataFrame:
    return check_table(pd.DataFrame([row for part in parts for row in part]), "here")


def curves(ax: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Line/group, with /level where it is level → its points."""
    drawn = {line.get_gid(): line for line in ax.get_lines() if line.get_gid()}
    return {gid: (list(line.get_xdata()), list(line.get_ydata())) for gid, line in drawn.items()}


def names_of(frame: pd.DataFrame) -> list[str]:
    return [picture.name for picture in robustness_pictures(frame)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_a_model_and_group_and_a_level_where_there_is_no_lambda(table):
    ax = draw_robustness(table, "ece_positive", "lambda")
    means = summarise(table, ["model", "lambda"]).set_index(["model", "lambda", "group", "metric"])
    drawn = curves(ax)
    assert set(drawn) == {
        *(f"{CCR}/{g}" for g in ("base", "new")),
        *(f"{name}/{g}/level" for name in (ZERO, BCE) for g in ("base", "new")),
    }
    for group in ("base", "new"):
        x, y = drawn[f"{CCR}/{group}"]
        assert x == [1.0, 10.0, 100.0]
        found = [means.loc[("bce+ccr (prior bias)", v, group, "ece_positive"), "mean"] for v in x]
        assert y == found
        level = means.loc[("bce (prior bias)", 0.0, group, "ece_positive"), "mean"]
        assert set(drawn[f"{BCE}/{group}/level"][1]) == {level}
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "λ"
    assert ax.get_ylabel() == "positive ECE"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "10", "100"]


def test_bands_are_the_intervals(table):
    ax = draw_robustness(table, "map", "lambda", ("new",))
    means = summarise(table, ["model", "lambda"])
    means = means[(means["metric"] == "map") & (means["group"] == "new")]
    tuned = means[means["lambda"] > 0]
    (band,) = ax.collections
    vertices = {tuple(point) for point in np.round(band.get_paths()[0].vertices, 9)}
    for end in ("low", "high"):
        assert vertices >= {tuple(p) for p in np.round(tuned[["lambda", end]].to_numpy(), 9)}
    spans = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in ax.patches]
    levels = means[means["lambda"] == 0]
    np.testing.assert_allclose(spans, levels[["low", "high"]])


def test_models_have_the_looks_of_the_other_figures_and_groups_a_line_each(table):
    ax = draw_robustness(table, "map", "lambda")
    lines = {line.get_gid(): line for line in ax.get_lines()}
    base, new = lines[f"{CCR}/base"], lines[f"{CCR}/new"]
    look = LOOKS["bce+ccr (prior bias)"]
    for line in (base, new):
        assert (to_hex(line.get_color()).upper(), line.get_marker()) == (look.colour, look.marker)
    assert (base.get_linestyle(), new.get_linestyle()) == ("-", "--")
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == [ZERO, BCE, CCR, "base", "new"]
    alone = draw_robustness(table, "map", "lambda", ("all",)).get_legend().get_texts()
    assert [text.get_text() for text in alone] == [ZERO, BCE, CCR]


def test_batch_sizes_are_named_and_zero_shot_has_none():
    sizes = (8, 16, 32, 64, 128)
    tuned = [rows(v, run=f"{v} {b}", batch_size=b) for v in (0.0, 10.0) for b in sizes]
    table = together(zero_shot(), *tuned)
    ax = draw_robustness(table, "map", "batch_size", ("new",))
    drawn = curves(ax)
    assert set(drawn) == {f"{ZERO}/new/level", f"{BCE}/new", f"{CCR}/new"}
    assert drawn[f"{BCE}/new"][0] == list(sizes)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(size) for size in sizes]
    assert names_of(table) == ["robustness_batch_size"]


def test_what_else_is_varied_splits_a_model_into_lines():
    tuned = [rows(v, run=f"{v} {b}", batch_size=b) for v in (1.0, 10.0) for b in (8, 128)]
    table = together(zero_shot(), *tuned)
    by_lambda = {f"{ZERO}/new/level", f"{CCR}, batch 8/new", f"{CCR}, batch 128/new"}
    assert set(curves(draw_robustness(table, "map", "lambda", ("new",)))) == by_lambda
    by_size = {f"{ZERO}/new/level", f"{CCR}, λ 1/new", f"{CCR}, λ 10/new"}
    assert set(curves(draw_robustness(table, "map", "batch_size", ("new",)))) == by_size
    few = table[(table["metric"] == "map") & (table["split"] == 1)]
    assert names_of(few) == ["robustness_lambda", "robustness_batch_size"]


def test_zero_shot_is_a_curve_over_the_shots_that_its_bias_is_of():
    def valued(*_):
        return 0.5

    parts = [zero_shot(shots=k, run=f"{k}") for k in (1, 4)]
    parts += [rows(1.0, shots=k, run=f"{k}", valued=valued) for k in (1, 4)]
    drawn = curves(draw_robustness(together(*parts), "map", "shots", ("all",)))
    assert {gid: x for gid, (x, _) in drawn.items()} == {
        f"{ZERO}/all": [1, 4],
        f"{CCR}/all": [1, 4],
    }


def test_a_few_near_values_stand_on_a_plain_axis():
    parts = [rows(1.0, run=f"{a}", residual_ratio=a) for a in (0.2, 0.4, 0.8)]
    ax = draw_robustness(together(*parts), "map", "residual_ratio", ("all",))
    assert ax.get_xscale() == "linear"
    assert ax.get_xlabel() == "residual ratio"


def test_undefined_means_are_gaps_and_one_split_has_no_band():
    def valued(split, lambda_, group, metric):
        return float("nan") if lambda_ == 10 else 0.5

    parts = [rows(v, splits=(1,), valued=valued) for v in (1.0, 10.0, 100.0)]
    ax = draw_robustness(together(*parts), "map", "lambda", ("all",))
    np.testing.assert_array_equal(curves(ax)[f"{CCR}/all"][1], [0.5, np.nan, 0.5])
    assert not any(len(path.vertices) for path in ax.collections[0].get_paths())


def test_the_page_shows_four_metrics(table):
    figure = robustness_page(table, "lambda")
    shown = [ax.get_ylabel().split("\n")[0] for ax in figure.axes]
    assert shown == ["mAP", "positive ECE", "decision ECE", "signed error"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", "λ", "λ"]
    assert {gid.split("/")[1] for gid in curves(figure.axes[3])} == {"head", "new"}
    assert {gid.split("/")[1] for gid in curves(figure.axes[0])} == {"base", "new"}
    assert legend(figure) == [ZERO, BCE, CCR, "base", "new", "head"]
    assert " ".join(figure._supxlabel.get_text().split()) == (
        "Points: mean over 3 splits; bands, and bars at lone points: 95 % interval (Student t); "
        "level lines: zero-shot and λ = 0, no regularizer. Test: scenes."
    )


def test_without_groups_the_page_shows_all_classes_of_the_metrics_there_are():
    parts = [rows(v, groups=["all"], metrics=["map", "nll", "ece_positive"]) for v in (1.0, 10.0)]
    figure = robustness_page(together(*parts), "lambda")
    assert [set(curves(ax)) for ax in figure.axes] == [{f"{CCR}/all"}] * 2
    with pytest.raises(BadData, match="holds none of them"):
        robustness_page(together(*(rows(v, metrics=["nll"]) for v in (1.0, 2.0))), "lambda")


def test_a_page_for_each_data_set_and_calibrator():
    parts = [
        rows(v, (1,), ["all"], ["map"], run=f"{v}", data=data, calibrator=calibrator)
        for v in (1.0, 10.0)
        for data in ("scenes", "scenes:noto")
        for calibrator in ("none", "platt by group")
    ]
    assert names_of(together(*parts)) == [
        "robustness_lambda_scenes_none", "robustness_lambda_scenes_platt_by_group",
        "robustness_lambda_scenes_noto_none", "robustness_lambda_scenes_noto_platt_by_group",
    ]  # fmt: skip


def test_data_sets_are_not_averaged():
    table = together(rows(1.0, run="a"), rows(1.0, run="a", data="scenes:noto"))
    with pytest.raises(BadData, match="differ in data"):
        draw_robustness(table, "map", "lambda")


def test_what_the_table_does_not_hold_is_refused(table):
    with pytest.raises(BadConfig, match="did you mean 'lambda'"):
        draw_robustness(table, "map", "lamda")
    with pytest.raises(BadConfig, match="column of numbers, but got 'bias'"):
        draw_robustness(table, "map", "bias")
    with pytest.raises(BadConfig, match="did you mean 'map'"):
        draw_robustness(table, "mapp", "lambda")
    with pytest.raises(BadConfig, match="group to draw .* 'rare'"):
        draw_robustness(table, "map", "lambda", ("rare",))


def test_a_table_without_a_varied_number_has_no_page():
    assert robustness_pictures(together(zero_shot(), rows(0.0), rows(1.0))) == []


def test_curves_of_two_bias_rules_are_on_pages_apart_beside_the_honest_baselines():
    parts = [zero_shot(), rows(0.0, run="learned", bias="learned", model="bce (learned bias)")]
    for rule in ("mean", "prior"):
        parts += [
            rows(v, run=f"{rule} {v}", bias=rule, model=f"bce+ccr ({rule} bias)")
            for v in (1.0, 10.0)
        ]
    mean, prior = robustness_pictures(together(*parts))
    assert (mean.name, prior.name) == ("robustness_lambda_mean", "robustness_lambda_prior")
    beside = {"zero-shot (prior bias)", "bce (learned bias)"}
    assert set(mean.table["model"]) == {"bce+ccr (mean bias)", *beside}
    assert set(prior.table["model"]) == {"bce+ccr (prior bias)", *beside}


def test_a_missing_run_is_a_gap_and_said():
    parts = [rows(v, run=f"a {v}") for v in (1.0, 10.0, 100.0)]
    parts += [
        rows(v, run=f"b {v}", bias="learned", model="bce+ccr (learned bias)") for v in (1.0, 100.0)
    ]
    parts[0] = [row for row in parts[0] if row["split"] != 2]
    table = together(*parts)
    table = table[table["metric"].isin(["map", "ece_positive"])]
    ax = draw_robustness(table, "map", "lambda", ("all",))
    x, y = curves(ax)["BCE + CCR (learned bias)/all"]
    assert x == [1.0, 10.0, 100.0]
    assert np.isnan(y).tolist() == [False, True, False]
    bars = [path.vertices for c in ax.collections for path in c.get_paths() if len(path) == 2]
    assert sorted(bar[0, 0] for bar in bars) == [1.0, 100.0]  # lone points keep their interval
    said = " ".join(robustness_page(table, "lambda")._supxlabel.get_text().split())
    assert said.endswith(
        f"Missing, so left out of lines and means: {CCR} at λ 1, split 2; "
        "BCE + CCR (learned bias) at λ 10."
    )
    found = robustness_table(table, "map", "lambda", ("all",))
    assert found.loc[found["mean"].isna(), ["lambda", "n"]].to_numpy().tolist() == [[10.0, 0]]


def test_the_table_of_a_page_holds_what_is_drawn(table):
    (picture,) = robustness_pictures(table)
    axes = {ax.get_ylabel().split("\n")[0]: ax for ax in picture.figure.axes}
    part = picture.table[picture.table["metric"] == "ece_positive"]
    drawn = curves(axes["positive ECE"])
    for (line, group), rows_ in part.groupby(["line", "group"]):
        if not rows_["level"].any():
            assert drawn[f"{line}/{group}"][1] == rows_["mean"].tolist()
    assert axes["positive ECE"].get_ylim()[0] == axes["decision ECE"].get_ylim()[0] == 0


def test_estimators_have_a_look_of_their_own():
    parts = [
        rows(v, run=f"{e} {v}", estimator=e) for e in ("centred", "uncentred") for v in (1.0, 10.0)
    ]
    ax = draw_robustness(together(*parts), "map", "lambda", ("all",))
    for line in ax.get_lines():
        look = ESTIMATOR_LOOKS[line.get_gid().removesuffix("/all").split()[-1]]
        assert (to_hex(line.get_color()).upper(), line.get_marker()) == (look.colour, look.marker)


def test_long_names_of_any_letters_fit_the_page():
    name = "x" * 78 + "_$"
    parts = [rows(v, run=f"{v}", model=name, splits=(1,)) for v in (1.0, 10.0)]
    figure = robustness_page(together(*parts), "lambda")
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("given", ["", "results.csv", "results.parquet"])
def test_figures_of_a_sweep(ccr, tmp_path, given):
    write_table(lambda_study(groups=["all"], metrics=["map"]), tmp_path)
    result = ccr("figures", tmp_path / given, "--format", "png")
    assert result.exit_code == 0, result.output
    page = tmp_path / "figures" / "robustness_lambda.png"
    assert str(page) in result.stdout.split()
    assert page.with_suffix(".csv").exists()
    assert page.read_bytes().startswith(b"\x89PNG")


def test_figures_of_a_bad_sweep_are_one_line(ccr, tmp_path):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    result = ccr("figures", tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "is none of these" in result.stderr


def test_the_legend_shows_the_dashes_of_groups_free_of_markers():
    handles = group_handles(["base", "new", "head"])
    assert {handle.get_marker() for handle in handles} == {"None"}
    assert len({handle.get_linestyle() for handle in handles}) == 3
