"""Options of every command in a file: taken, printed, and refused where they are wrong."""

import math
import os
import subprocess
import sys
import tomllib

import click
import pytest
from click.shell_completion import BashComplete
from hypothesis import given
from hypothesis import strategies as st

from ccr_diag.cli.command import Command
from ccr_diag.cli.config_file import keys_of
from ccr_diag.cli.finetune import SETTINGS
from ccr_diag.cli.main import COMMANDS, cli
from ccr_diag.config import FinetuneConfig, config_from_dict
from ccr_diag.errors import BadConfig
from ccr_diag.written_toml import to_toml

HEAVY = ("torch", "open_clip", "matplotlib", "pandas")
# Options whose text has a form of its own, or needs an extra.
EXAMPLES = {"fail_if": "map@new<=0.5", "report_to": None, "bias": 0.25}


def walk(group, words=()):
    """(words, command) of every command that is no group, at any depth."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from walk(command, (*words, name))
        else:
            yield (*words, name), command


EVERY = list(walk(cli))
every_command = pytest.mark.parametrize(
    ("words", "command"), EVERY, ids=[" ".join(words) for words, _ in EVERY]
)


def example(option):
    """What an option may be given, other than its default."""
    if option.name in EXAMPLES:
        return EXAMPLES[option.name]
    if isinstance(option.type, click.Choice):
        return option.type.choices[-1]
    if isinstance(option.type, click.types.IntParamType):
        return (getattr(option.type, "min", None) or 0) + 7
    if isinstance(option.type, click.types.FloatParamType):
        return 1e-7
    return 'ä "b"\\c'


def flags(command, wanted):
    """Words on the command line that set the wanted parameters, and the file that does so too."""
    words, file, seen = [], {}, set()
    for option in command.options:
        value = example(option)
        if value is None or option.name in seen or not wanted(option):
            continue
        seen.add(option.name)
        key = keys_of(option, command.by_name)[0]
        several = option.nargs == -1 or getattr(option, "multiple", False)
        if isinstance(option, click.Argument):
            words.append(value)
        elif option.is_flag:
            words.append(option.opts[0])
            value = True
        else:
            words += [option.opts[-1], value] * (2 if several else 1)
        file[key] = [value] * (1 if option.nargs == -1 else 2) if several else value
    return words, file


def test_there_are_the_commands_that_are_listed():
    assert {words[0] for words, _ in EVERY} == set(COMMANDS)
    assert ("analyze", "checkpoint") in [words for words, _ in EVERY]


@every_command
def test_every_command_has_a_file_a_print_and_a_plan(words, command):
    assert isinstance(command, Command), f"{' '.join(words)} must be made by @command(plan)"
    assert [option.name for option in command.params[-3:]] == ["config", "print_config", "dry_run"]
    taken = [key for option in command.options for key in keys_of(option, command.by_name)[:1]]
    assert len(set(taken)) == len(taken)


@every_command
@pytest.mark.parametrize("wanted", [lambda option: option.required, lambda option: True])
def test_what_is_printed_gives_the_same_again(ccr, tmp_path, monkeypatch, words, command, wanted):
    if words == ("finetune",) and wanted(command.options[0]):
        wanted = _sensible
    monkeypatch.chdir(tmp_path)
    given_words, file = flags(command, wanted)
    first = ccr(*words, *given_words, "--print-config")
    assert (first.exit_code, first.stderr) == (0, ""), first.output
    found = tomllib.loads(first.stdout)
    assert {key: found[key] for key in file} == file
    (tmp_path / "a.toml").write_text(first.stdout)
    again = ccr(*words, "--config", "a.toml", "--print-config")
    assert (again.exit_code, again.stdout) == (0, first.stdout), again.output
    dashed = {key.replace("_", "-"): value for key, value in file.items()}
    (tmp_path / "b.toml").write_text(to_toml(dashed))
    assert ccr(*words, "--config", "b.toml", "--print-config").stdout == first.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"a.toml", "b.toml"}


def _sensible(option):
    """Settings of finetune that go together."""
    return option.name in ("splits", "new_classes", "lambda_", "class_specific", "data", "resume")


def test_defaults_that_only_the_run_knows_are_printed(ccr, tmp_path):
    found = tomllib.loads(ccr("finetune", "--framework", "kgcoop", "--print-config").stdout)
    config = config_from_dict({"framework": "kgcoop"})
    assert config.as_dict() != FinetuneConfig(framework="kgcoop").as_dict()
    printed = {name: found.pop(name.rstrip("_"), []) for name in config.as_dict()}
    assert printed == config.as_dict()
    assert set(found) == {"splits", "output", "resume", "overwrite", "device"}


def test_the_file_of_a_run_is_taken(ccr, tmp_path):
    config = config_from_dict({"framework": "kgcoop", "new_classes": ["a"], "lambda_": 3})
    (tmp_path / "config.toml").write_text(config.to_toml())
    shown = ccr("finetune", "--config", tmp_path / "config.toml", "--seed", 4, "--print-config")
    found = tomllib.loads(shown.stdout)
    assert (found["lambda"], found["new_classes"], found["seed"]) == (3.0, ["a"], 4)
    settings = {name: found[name.rstrip("_")] for name in SETTINGS}
    assert config_from_dict(settings) == config.replace(seed=4)


def test_flags_and_arguments_override_the_file(ccr, tmp_path):
    file = tmp_path / "a.toml"
    file.write_bytes(
        b"\xef\xbb\xbffiles = ['a.npz', 'b.npz']\nlogits = true\nprobs = false\nbins = 5\n"
        b"top-k = 2\noverwrite = true\nfail-if = ['ece>0.1']\n"
    )
    call = ("analyze", "predictions")
    found = tomllib.loads(ccr(*call, "--config", file, "--print-config").stdout)
    assert (found["files"], found["logits"], found["bins"]) == (["a.npz", "b.npz"], True, 5)
    assert (found["top_k"], found["overwrite"], found["seed"]) == (2, True, 0)
    assert "probs" not in found
    assert found["fail_if"] == ["ece>0.1"]
    more = ("c.npz", "--probs", "--bins", 9, "--fail-if", "map<0.5", "--print-config")
    other = tomllib.loads(ccr(*call, "--config", file, *more).stdout)
    changed = {"files": ["c.npz"], "probs": True, "bins": 9, "fail_if": ["map<0.5"]}
    assert other == {k: v for k, v in found.items() if k != "logits"} | changed


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        ("compare", "a = 'x'\nbinz = 3", "line 2: unknown key 'binz'; did you mean 'bins'?"),
        ("compare", "n_bins = 3", "line 1: unknown key 'n_bins'"),
        ("compare", "config = 'x'", "line 1: unknown key 'config'"),
        ("compare", "dry_run = true", "line 1: unknown key 'dry_run'"),
        ("compare", "bins = '3'", "line 1: bins must be a whole number, but got '3'."),
        ("compare", "bins = 3.0", "line 1: bins must be a whole number, but got 3.0."),
        ("compare", "bins = true", "line 1: bins must be a whole number, but got true."),
        ("compare", "bins = 0", "line 1: invalid value for bins: 0 is not in the range"),
        ("compare", "\nbootstrap = 1", "line 2: invalid value for bootstrap: 1 is not in"),
        ("compare", "scale = '1'", "line 1: scale must be a number, but got '1'."),
        ("compare", "overwrite = 1", "line 1: overwrite must be true or false, but got 1."),
        ("compare", "probs = 'yes'", "line 1: probs must be true or false, but got 'yes'."),
        ("compare", "probs = true\nlogits = true", "line 2: logits and probs set the same;"),
        ("compare", "top-k = 1\ntop_k = 1", "line 2: top_k and top-k set the same;"),
        ("compare", "a = 1", "line 1: a must be a word or words in quotes, but got 1."),
        ("compare", 'a = "x\\u0000"', "line 1: a must be a word or words in quotes"),
        ("compare", "metric = 'ece'", "line 1: metric must be a list in [ ], each"),
        ("compare", "metric = [\n'ece',\n3]", "line 3: metric must be a word or words in quotes"),
        ("compare", "[metric]\na = 1", "line 1: metric must be a list"),
        ("compare", "preset = 'book'", "line 1: invalid value for preset: 'book' is not one of"),
        ("compare", "a = ", "must be a TOML file, but is not (Invalid value"),
        ("predict", "bias = true", "bias must be a rule in quotes or a number, but got true."),
        ("predict", "bias = 'x'", "line 1: invalid value for bias: 'x' is neither one of"),
        ("finetune", "lamda = 1", "line 1: unknown key 'lamda'; did you mean 'lambda'?"),
        ("finetune", "loss = 'bse'", "line 1: invalid value for loss: must be one of bce,"),
        (
            "finetune",
            "epochs = 1\nlambda = -1",
            "line 2: invalid value for lambda: lambda must be a",
        ),
        ("finetune", "scale = nan", "line 1: invalid value for scale: scale must be a finite"),
        ("finetune", "report_to = ['wandbx']", "line 1: invalid value for report_to: A tracker"),
        ("finetune", "config = 'x'", ", lambda, learning_rate,"),
        ("finetune", "lambda = 1\nlambda_ = 2", "line 2: lambda_ and lambda set the same;"),
        ("finetune", "new_classes = 'a'", "new_classes must be a list"),
        ("finetune", "epochs = 2.5", "epochs must be a whole number, but got 2.5."),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(ccr, tmp_path, words, text, said):
    file = tmp_path / "a.toml"
    file.write_text(text)
    needed = {"compare": ["a", "b"], "predict": ["run", "-o", "a.npz"], "finetune": []}[words]
    result = ccr(words, *needed, "--config", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {file}")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_wrong_gate_in_a_file_is_said_with_its_line(ccr, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("seed = 1\nfail_if = ['ece>0.1', 'ecee>1']\n")
    result = ccr("analyze", "predictions", "a.npz", "--config", file)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {file}, line 2: invalid value for fail_if: The metric")


def test_a_tilde_in_a_file_is_the_home_folder(ccr, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.toml").write_text("a = '~/a.npz'\nb = 'b~.npz'\n")
    found = tomllib.loads(ccr("compare", "--config", "~/a.toml", "--print-config").stdout)
    assert (found["a"], found["b"]) == (str(tmp_path / "a.npz"), "b~.npz")


def test_a_file_that_cannot_be_read_is_refused(ccr, tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe4'")
    for name, why in (("no.toml", "No such file"), (".", "Is a directory"), ("latin.toml", "utf")):
        result = ccr("figures", "x", "--config", tmp_path / name)
        assert result.exit_code == 2
        assert f"Error: The config must be a TOML file, but {tmp_path / name}" in result.stderr
        assert why in result.stderr


def test_an_argument_that_neither_gives_is_missing(ccr, tmp_path):
    (tmp_path / "a.toml").write_text("a = 'x.npz'")
    result = ccr("compare", "--config", tmp_path / "a.toml", "--print-config")
    assert result.exit_code == 2
    assert "Missing argument 'B'" in result.stderr


def test_a_name_that_is_not_text_cannot_be_printed(ccr):
    result = ccr("figures", os.fsdecode(b"\xff.json"), "--print-config")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "A TOML file must be UTF-8" in result.stderr


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.booleans(), st.floats(),
    st.integers(-(2**63), 2**63 - 1), st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)  # fmt: skip


@given(st.dictionaries(st.from_regex("[a-z_]+", fullmatch=True), VALUES))
def test_toml_is_read_back_as_it_was(values):
    found = tomllib.loads(to_toml(values))
    assert list(found) == list(values)
    for name, value in values.items():
        assert type(found[name]) is type(value)
        assert found[name] == value or (math.isnan(found[name]) and math.isnan(value))
    assert to_toml(found) == to_toml(values)


def test_half_a_character_is_no_toml():
    with pytest.raises(BadConfig, match="must be UTF-8"):
        to_toml({"a": "\udcff"})


def completions(*words):
    """What a shell is offered after these words, the last of them begun."""
    *args, begun = words
    complete = BashComplete(cli, {}, "ccr-diag", "_CCR_DIAG_COMPLETE")
    return [item.value for item in complete.get_completions(args, begun)]


def test_commands_options_and_choices_are_completed(tmp_path):
    assert completions("") == list(COMMANDS)
    assert completions("analyze", "c") == ["checkpoint", "correlation"]
    assert completions("analyze", "checkpoint", "--fa") == ["--fail-if"]
    assert completions("finetune", "--reg") == ["--regularizer"]
    assert completions("finetune", "--regularizer", "k") == ["kgcoop"]
    missing = ("finetune", "--config", str(tmp_path / "no.toml"), "--print-c")
    assert completions(*missing) == ["--print-config"]


def test_completion_and_help_import_nothing_heavy():
    """Through the variable that shells set, in a process of its own; and help of every command."""
    code = (
        "import os, sys\n"
        "from click.testing import CliRunner\n"
        "from ccr_diag.cli.main import cli, main\n"
        f"for words in {[list(words) for words, _ in EVERY]}:\n"
        "    assert CliRunner().invoke(cli, [*words, '--help']).exit_code == 0\n"
        "os.environ |= {'_CCR_DIAG_COMPLETE': 'bash_complete', 'COMP_CWORD': '2',"
        " 'COMP_WORDS': 'ccr-diag analyze chec'}\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print(sorted({HEAVY} & sys.modules.keys()))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code.replace(str(HEAVY), str(set(HEAVY)))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.stdout, said.returncode) == ("plain,checkpoint\n[]\n", 0), said.stderr
