import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.config import CHOICES, FinetuneConfig, config_from_dict, load_config
from ccr_diag.data import DATASETS
from ccr_diag.errors import BadConfig
from ccr_diag.frameworks import FRAMEWORKS
from ccr_diag.losses import LOSSES, REGULARIZERS


def test_choices_are_the_registries():
    from ccr_diag.covariance import ESTIMATORS

    assert CHOICES["framework"] == tuple(FRAMEWORKS)
    assert CHOICES["loss"] == tuple(LOSSES)
    assert CHOICES["regularizer"] == ("none", *REGULARIZERS)
    assert set(CHOICES["estimator"]) == set(ESTIMATORS)
    assert FinetuneConfig().data in DATASETS


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.text(st.characters(codec="utf-8")),
            "new_classes": st.lists(st.text("abc \"'\\ü\n")).map(tuple),
            "lambda_": st.floats(0, 1e6),
            "learning_rate": st.floats(0, 1e-12),
            "seed": st.integers(0, 10**9),
            "loss": st.sampled_from(CHOICES["loss"]),
        },
    )
)
def test_toml_round_trip(tmp_path_factory, changes):
    config = FinetuneConfig(**changes)
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lamda_": 1.0}, "Unknown setting 'lamda_'; did you mean 'lambda_'?"),
        (
            {"loss": "bse"},
            "loss must be one of bce, ranking, asl, but got 'bse'; did you mean 'bce'?",
        ),
        (
            {"framework": "cocop"},
            "framework must be one of "
            + ", ".join(CHOICES["framework"])
            + ", but got 'cocop'; did you mean 'cocoop'?",
        ),
        ({"label_smoothing": 1.0}, "label_smoothing must be 0 or more and below 1, but got 1.0."),
        ({"residual_ratio": 0.0}, "residual_ratio must be above 0 and at most 1, but got 0.0."),
        ({"n_outliers": 0}, "n_outliers must be at least 1, but got 0."),
        ({"epochs": 0}, "epochs must be at least 1, but got 0."),
        ({"lambda_": -1.0}, "lambda must be a finite number, 0 or more, but got -1.0."),
        ({"scale": float("inf")}, "scale must be a finite number, 0 or more, but got inf."),
        ({"shots": 1.5}, "Setting 'shots' must be of kind int, but got 1.5."),
        ({"epochs": True}, "Setting 'epochs' must be of kind int, but got True."),
    ],
)
def test_bad_settings(values, text):
    with pytest.raises(BadConfig) as error:
        config_from_dict(values)
    assert str(error.value) == text


def test_a_file_of_an_older_version_lacks_what_is_new_and_means_its_default(tmp_path):
    config = FinetuneConfig(loss="asl", new_classes=("cat",))
    lines = [line for line in config.to_toml().splitlines() if "class_split" not in line]
    assert len(lines) == len(dataclasses.fields(FinetuneConfig)) - 1
    (tmp_path / "config.toml").write_text("\n".join(lines), encoding="utf-8")
    assert load_config(tmp_path / "config.toml") == config


def test_whole_numbers_pass_for_floats():
    assert config_from_dict({"lambda_": 2}).lambda_ == 2.0


def test_bad_files(tmp_path):
    with pytest.raises(BadConfig, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("loss = ")
    with pytest.raises(BadConfig, match=r"bad.toml is not \("):
        load_config(tmp_path / "bad.toml")


def test_every_setting_has_a_flag_and_a_line_in_the_docstring():
    from ccr_diag.cli.finetune import SETTINGS

    names = [field.name for field in dataclasses.fields(FinetuneConfig)]
    assert list(SETTINGS) == names
    assert all(f"\n        {name}: " in FinetuneConfig.__doc__ for name in names)


def test_names_say_method_and_bias():
    assert FinetuneConfig(regularizer="ccr").name == "bce+ccr"
    assert FinetuneConfig(loss="ranking", bias="prior").name == "ranking (prior bias)"
