"""The report of an analysis: its numbers, its words, and what strangers' names can do to it."""

import base64
import copy
import hashlib
import re

import pytest
from made_results import fake_results, without_splits
from page_parts import parsed

from ccr_diag.figures.html_report import results_page
from ccr_diag.figures.html_report.charts import PATHS, axis, reliability_chart, sparkline
from ccr_diag.figures.html_report.environment import FOLDER, environment, render
from ccr_diag.figures.html_report.numbers import OWN_TERMS, Term, chance, column, shown, terms
from ccr_diag.figures.style import LOOKS, model_looks
from ccr_diag.metrics.registry import METRICS, definitions
from ccr_diag.verdict import model_verdict, stretches_said, verdict

SHARE, POINTS = Term("ece_positive", "ECE", "…", unit="%"), Term("e", "e", "…", unit="points")
PLAIN = Term("nll", "NLL", "…")
COUNTED = {
    "n_images": "images", "n_classes": "classes", "n_known": "labels", "n_positive": "positives",
}  # fmt: skip
UNDEFINED = {"ED", "NP", "gap", "drift"}  # in the made-up file; others say what geometry is
HOSTILE = (
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\" onmouseover='x' \"",
    "{{ 7 * 7 }} {% raw %}", "\u202ertl\u202c", "&lt;b&gt; & <!-- -->", "猫 " * 40,
    "</title></style>",
)  # fmt: skip


def text_geometry(results):
    """What ``analyze checkpoint`` says of the texts of each split."""
    names = [entry["name"] for entry in results["models"][0]["classes"]]
    for model in results["models"]:
        for split in model["splits"]:
            split["geometry"]["text"] = {
                "k": 2,
                "most_moved": names[:3],
                "classes": [
                    {"name": name, "ED": 0.25, "NP": 0.5, "drift": 1.5,
                     "neighbours_zero_shot": [names[-1], names[-2]],
                     "neighbours": [names[-1], names[-3]]}
                    for name in names
                ],
            }  # fmt: skip
    return results


def with_differences(results):
    first, second = (model["name"] for model in results["models"][:2])
    row = {"metric": "ece_positive", "group": "all", "a": 0.2, "b": 0.1234567, "p": 0.0002,
           "difference": -0.0765433, "low": -0.09, "high": -0.06, "p_holm": 0.012,
           "verdict": "better"}  # fmt: skip
    tail = row | {"group": "tail", "difference": None, "low": None, "high": None, "p": None,
                  "p_holm": None, "verdict": "cannot tell"}  # fmt: skip
    results["differences"] = {
        "method": "Paired <in> tests.",
        "pairs": [{"a": first, "b": second, "rows": [row, tail]}],
    }
    return results


@pytest.fixture(scope="module")
def record():
    results = with_differences(text_geometry(fake_results()))
    results["provenance"] = {
        "command": "ccr-diag analyze checkpoint 'my runs'",
        "versions": {"python": "3.12"},
        "inputs": [{"path": "a.npz", "sha256": "ab12", "config": {"loss": "bce", "seed": 7}}],
    }
    return results


@pytest.fixture(scope="module")
def page(record):
    return parsed(results_page(record))


def as_shown(metric, entry):
    found = shown(POINTS if metric == "signed_error" else SHARE, entry)
    return found.text.replace("\u00a0", " "), found.ends


def few(results):
    """Two models, to be quick."""
    return copy.deepcopy(results | {"models": results["models"][:2]})


def panel(page, i):
    return page.one("section", data_panel="model", data_of=f"m{i}")


# what is said


def test_the_verdict_and_its_reasons_come_first(record, page):
    said = verdict(record)
    header = page.one("header")
    assert header.one("p", class_="verdict").text == said.text
    assert [p.text for p in header.all("p")[1:]] == list(said.reasons)
    assert (
        page.one("h1").text
        == "Calibration of made-up, split test"
        == page.one("head").one("title").text
    )
    facts = [item.text for item in header.one("ul").all("li")]
    assert facts == [
        *(f"{record['models'][0][key]:,} {said}" for key, said in COUNTED.items()),
        "3 splits",
        f"{len(record['models'])} models",
    ]


def test_each_model_has_its_sentence_and_its_findings_with_evidence(record, page):
    for i, model in enumerate(record["models"]):
        part = panel(page, i)
        assert part.one("h2").text == model["label"]
        assert part.all("p")[0].text == model_verdict(model).text
        (item,) = part.one("ol", class_="findings").all("li")
        assert item.one("summary").text == model["findings"][0]["text"]
        assert item.one("dl").text == "rulesignedmetricsigned_error"


def test_the_model_with_the_least_error_is_shown_first(record, page):
    options = page.one("select", data_choose="model").all("option")
    assert [option.text for option in options] == [m["label"] for m in record["models"]]
    (chosen,) = [o for o in options if "selected" in o.attributes]
    least = min(record["models"], key=lambda m: m["metrics"]["ece_positive"]["value"])
    assert chosen.text == least["label"]


def test_several_splits_are_said_to_be_means(page, results):
    words = page.one("section", id="glance").text
    assert "mean over splits with its 95 % interval (Student t)" in words
    assert "numbers are means over the splits" in words
    alone = parsed(results_page(without_splits(few(results)))).one("section", id="glance").text
    assert "means over" not in alone
    assert "bootstrap over images" in alone


# numbers


def test_cards_hold_the_numbers_of_the_file(record, page):
    for i, model in enumerate(record["models"]):
        cards = panel(page, i).all("ul", class_="cards")[0].all("li")
        numbers = [card.all("span", class_="number")[0] for card in cards]
        metrics = ["ece_positive", "ece_decision", "signed_error", "map"]
        assert [number["data-metric"] for number in numbers] == [*metrics, "n_known"]
        for number, card, metric in zip(numbers, cards, metrics, strict=False):
            entry = model["metrics"][metric]
            assert float(number["data-value"]) == entry["value"]
            ends = card.one("span", class_="ends")
            assert (float(ends["data-low"]), float(ends["data-high"])) == (
                entry["low"], entry["high"]
            )  # fmt: skip
            assert (number.text, ends.text) == as_shown(metric, entry)
        assert float(numbers[-1]["data-value"]) == model["n_known"]


def test_what_a_calibrated_model_would_show_stands_beside(record):
    results = few(record)
    results["definitions"]["metrics"] |= definitions(["ece_expected_positive"])
    for model in results["models"]:
        model["metrics"]["ece_expected_positive"] = {"value": 0.0123, "low": 0.01, "high": 0.02}
    found = parsed(results_page(results))
    beside = panel(found, 0).all("span", class_="more")[0]
    assert beside.text == "ECE if calibrated: 1.2 %"  # decimals of the ECE above it
    rows = found.one("section", id="glance").one("tbody").all("tr")
    assert {row.all("td")[-1]["data-value"] for row in rows} == {"0.0123"}
    assert len(rows[0].all("line", class_="expected")) == 1


def test_every_model_is_on_one_axis(record, page):
    rows = page.one("section", id="glance").one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == [m["label"] for m in record["models"]]
    values = [m["metrics"]["ece_positive"]["value"] for m in record["models"]]
    places = [float(row.one("circle", class_="dot")["cx"].rstrip("%")) for row in rows]
    slope = (places[1] - places[0]) / (values[1] - values[0])
    zero = float(rows[0].one("line", class_="zero")["x1"].rstrip("%"))
    for value, place in zip(values, places, strict=True):
        assert place == pytest.approx(zero + slope * value, abs=0.01)


def test_groups(record, page):
    model = record["models"][2]
    rows = panel(page, 2).one("table", class_="groups").one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == ["all classes", *model["groups"]]
    for row, group in zip(rows[1:], model["groups"].values(), strict=True):
        wanted = [group["n_classes"], group["n_positive"]]
        wanted += [
            group["metrics"][key]["value"]
            for key in ("ece_positive", "ece_decision", "signed_error", "map")
        ]
        cells = [td for td in row.all("td") if "data-value" in td.attributes]
        assert [float(td["data-value"]) for td in cells] == wanted


def test_classes(record, page):
    for i, model in enumerate(record["models"]):
        table = panel(page, i).one("table", class_="classes")
        rows = table.one("tbody").all("tr")
        for row, entry in zip(rows, model["classes"], strict=True):
            assert (row.one("th").text, row.all("td")[0].text) == (entry["name"], entry["group"])
            values = [float(td["data-value"]) for td in row.all("td", class_="right")]
            wanted = [entry["n_training"], entry["n_positive"]]
            wanted += [
                entry["metrics"][key]["value"] for key in ("ece_positive", "signed_error", "map")
            ]
            assert values == wanted
    headings = table.one("thead").all("th")
    assert [h.text for h in headings] == [
        "class", "group", "in training", "positives", "reliability", "ECE, positive",
        "signed error", "AP",
    ]  # fmt: skip
    buttons = [h for h in headings if h.text != "reliability"]
    assert all(h["aria-sort"] == "none" and h.one("button")["type"] == "button" for h in buttons)
    definition = record["definitions"]["metrics"]["map"]["definition"]
    assert headings[-1].one("button")["title"] == definition


def test_reliability_says_its_finding_and_has_its_bins_as_a_table(record, page):
    for figure, convention in zip(
        panel(page, 1).all("figure"), ("positive", "decision"), strict=True
    ):
        bins = record["models"][1]["reliability"][convention]
        svg = figure.all("svg")[0]
        assert svg["role"] == "img"
        assert f": {stretches_said(bins)}; ECE, {convention} " in svg.one("desc").text
        assert svg.one("desc").text in figure.one("figcaption").text
        filled = [i for i, n in enumerate(bins["count"]) if n]
        rows = figure.one("table").one("tbody").all("tr")
        found = [[float(td["data-value"]) for td in row.all("td")] for row in rows]
        keys = ("count", "confidence", "frequency", "low", "high")
        assert found == [[bins[key][i] for key in keys] for i in filled]
        assert len(svg.all("circle", class_="dot")) == len(filled)


def test_differences_have_intervals(record, page):
    part = page.one("section", id="differences")
    assert "Paired <in> tests." in part.text
    (table,) = part.all("table")
    assert "over all classes: better in 1 of 1 measures" in table.one("caption").text
    whole, tail, scale = table.one("tbody").all("tr")
    cells = [td for td in whole.all("td") if "data-value" in td.attributes]
    assert [float(td["data-value"]) for td in cells] == [0.2, 0.1234567, -0.0765433, 0.0002, 0.012]
    assert cells[2].text == "−7.7 pts −9.0 to −6.0"
    assert (cells[3].text, whole.all("td")[-1].text) == ("< 0.001", "better")
    assert not tail.all("circle")
    assert tail.all("td")[-1].text == "cannot tell"
    assert len(scale.all("svg", class_="axis")) == 1


def test_a_single_model_is_compared_with_nothing(results):
    results["models"] = results["models"][:1]
    alone = parsed(results_page(results))
    assert not alone.all("section", id="glance") + alone.all("section", id="differences")
    assert not alone.all("select")
    said = model_verdict(results["models"][0]).text
    assert [p.text for p in alone.all("p")].count(said) == 1
    assert "95 % interval" in panel(alone, 0).all("p")[0].text


@pytest.mark.parametrize("preset", ["procal", "paper"])
def test_the_preset_says_which_calibration_error_comes_first(results, preset):
    results = few(results)
    results["definitions"]["preset"] = preset
    found = parsed(results_page(results))
    first = found.one("section", id="glance").one("thead").all("th")[1]
    assert first.text == "ECE, decision"
    part = panel(found, 0)
    cards = part.all("ul", class_="cards")[0].all("span", class_="number")
    assert cards[0]["data-metric"] == "ece_decision"
    assert not part.all("span", data_metric="ece_positive")
    assert part.one("table", class_="classes").all("th")[5].text == "ECE, decision"
    assert part.all("figure")[0].one("figcaption").text.startswith("Decision.")
    entry = results["models"][0]["metrics"]["ece_decision"]
    assert float(cards[0]["data-value"]) == entry["value"]


def test_without_differences_it_says_why(results):
    two = parsed(results_page(few(results))).one("section", id="differences")
    assert "there are none" in two.text


def test_geometry_shows_neighbours_before_and_after(record, page):
    names = [entry["name"] for entry in record["models"][0]["classes"]]
    rows = panel(page, 3).one("table", class_="moved").one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == names[:3]
    before, after = rows[0].all("td")[:2]
    assert (before.text, after.text) == (f"{names[-1]}, {names[-2]}", f"{names[-1]}, {names[-3]}")
    assert [bold.text for bold in rows[0].all("strong")] == [names[-1]] * 2
    cards = panel(page, 3).all("ul", class_="cards")[1]
    summary = record["models"][3]["geometry"]["summary"]
    values = [float(n["data-value"]) for n in cards.all("span", class_="number")]
    assert values == [entry["value"] for entry in summary.values()]


def test_which_number_is_the_probability(record, page):
    rows = page.one("section", id="map").one("tbody").all("tr")
    for row, model in zip(rows, record["models"], strict=True):
        assert [td.text for td in row.all("td")][0] == model["map_rule"]
        scales = [float(n["data-value"]) for n in row.all("span", data_metric="scale")]
        assert scales == [split["map"]["scale"] for split in model["splits"]]


def test_provenance(record, page):
    part = page.one("section", id="provenance")
    assert part.one("pre").text == record["provenance"]["command"]
    row = part.one("table").one("tbody").one("tr")
    assert (row.one("th").text, row.all("code")[0].text) == ("a.npz", "ab12")
    assert "seed7" in row.text
    assert "textbook: 15 bins" in part.text
    assert "python3.12" in part.text


# definitions


def test_every_number_is_defined_on_hover_and_in_the_appendix(page):
    defined = {div["id"] for div in page.one("section", id="definitions").all("div")}
    assert {"def-ece_positive", "def-n_known", "def-difference"} <= defined
    for link in page.all("a", class_="term"):
        assert link["title"]
        assert link["href"][1:] in defined
    shown_terms = {
        n["data-metric"] for n in page.all("span", class_="number") if "title" in n.attributes
    }
    assert shown_terms == {n["data-metric"] for n in page.all("span", class_="number")} - UNDEFINED


def test_definitions_of_geometry_come_from_the_file(record):
    results = few(record)
    results["definitions"]["geometry"] = {"ED": "mean <distance>", "NP": "kept", "ties": "none"}
    found = parsed(results_page(results))
    appendix = found.one("section", id="definitions")
    assert appendix.one("div", id="def-ED").text == "ED mean <distance>"
    assert appendix.one("div", id="def-ties").text == "ties none"
    card = panel(found, 0).all("ul", class_="cards")[1].all("li")[1]
    assert (card.one("a").text, card.one("a")["title"]) == ("NP@5", "kept")


def test_every_marker_of_a_figure_has_its_shape():
    names = [f"model {i}" for i in range(44)]
    assert {look.marker for look in (*LOOKS.values(), *model_looks(names).values())} <= set(PATHS)


# a sound page


def test_structure(page):
    html = page.one("html")
    assert html["lang"] == "en"
    levels = [int(e.tag[1]) for e in page.all() if re.fullmatch("h[1-6]", e.tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert len(page.all("main")) == len(page.all("nav")) == len(page.all("footer")) == 1
    skip = page.one("body").all()[0]
    assert (skip["class"], skip["href"]) == ("skip", f"#{page.one('main')['id']}")
    ids = [e["id"] for e in page.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        if not link["href"].startswith("#def-"):
            assert link["href"][1:] in ids
    for e in page.all():
        for name in ("aria-labelledby", "aria-describedby", "data-search"):
            assert all(part in ids for part in (e.attributes.get(name) or "").split())


def test_tables_and_pictures_are_told_to_those_who_do_not_see_them(page):
    for table in page.all("table"):
        assert table.one("caption").text
        assert all("scope" in th.attributes for th in table.all("th"))
    for svg in page.all("svg"):
        if svg.attributes.get("aria-hidden") != "true":
            assert svg["role"] == "img"
            assert svg.all("title")[0].text
    for control in (*page.all("select"), *page.all("input")):
        assert any(control in label.all() for label in page.all("label"))


def test_nothing_is_fetched_and_only_its_own_script_runs(record, page):
    policy = page.one("meta", http_equiv="Content-Security-Policy")["content"]
    script = page.one("script")
    (source,) = script.inside
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    assert script.attributes == {}
    for e in page.all():
        assert not {"src", "srcset", "onclick", "onerror", "action"} & set(e.attributes)
        if "href" in e.attributes:
            assert e["href"].startswith("#") or e["href"] == "data:,"
    assert "http" not in (FOLDER / "report.css").read_text()
    assert "url(" not in (FOLDER / "report.css").read_text()


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_contrast(mode):
    css = (FOLDER / "report.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[mode]
    colour = dict(re.findall(r"--(\w+): #(\w+)", block))

    def luminance(code):
        parts = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    def contrast(a, b):
        low, high = sorted(luminance(colour[name]) for name in (a, b))
        return (high + 0.05) / (low + 0.05)

    for back in ("paper", "raised"):
        assert min(contrast(text, back) for text in ("ink", "muted", "accent")) >= 4.5
    assert min(contrast(mark, "paper") for mark in ("band", "focus")) >= 3


# names of strangers


def hostile(results):
    """Every name and text of a file that others may have chosen."""
    for model in results["models"]:
        for entry, name in zip(model["classes"], HOSTILE, strict=False):
            entry["name"] = entry["group"] = name
        for split in model["splits"]:
            for entry, name in zip(split["classes"], HOSTILE, strict=False):
                entry["name"] = name
        model["findings"] = [{"text": name, "evidence": {name: [name]}} for name in HOSTILE]
        model["provenance"] = {name: name for name in HOSTILE}
        model["map_rule"] = model["map"]["rule"] = HOSTILE[0]
        model["groups"] = {HOSTILE[0]: model["groups"]["head"], HOSTILE[1]: model["groups"]["new"]}
    for model, name in zip(results["models"], HOSTILE, strict=False):
        model["name"] = model["label"] = name
    for split in (s for m in results["models"] for s in m["splits"]):
        split["groups"] = {name: split["groups"]["head"] for name in HOSTILE[:2]}
    results["data"] = {"name": HOSTILE[0], "split": HOSTILE[1]}
    results["definitions"]["geometry"] = {"ED": HOSTILE[0], HOSTILE[2]: HOSTILE[1]}
    results["definitions"]["bias_rules"] = {HOSTILE[0]: HOSTILE[1]}
    results["provenance"] = {
        "command": HOSTILE[1], "versions": {HOSTILE[0]: HOSTILE[0]},
        "inputs": [{"path": name, "sha256": name} for name in HOSTILE],
    }  # fmt: skip
    results["definitions"]["interval"] = HOSTILE[0]
    return with_differences(text_geometry(results))


def test_names_are_only_text(results, page):
    found = parsed(results_page(hostile(results)))
    assert {e.tag for e in found.all()} <= {e.tag for e in page.all()}
    assert {key for e in found.all() for key in e.attributes} <= {
        key for e in page.all() for key in e.attributes
    }
    assert len(found.all("script")) == 1
    wanted = [" ".join(name.split()) for name in HOSTILE]
    rows = panel(found, 0).one("table", class_="classes").one("tbody").all("tr")
    assert [row.one("th").text for row in rows[: len(wanted)]] == wanted
    assert all(row.one("th").inside[0].tag == "bdi" for row in rows)
    summaries = panel(found, 0).one("ol").all("summary")
    assert [summary.text for summary in summaries] == wanted
    assert HOSTILE[0] in panel(found, 0).all("svg", role="img")[0].all("title")[0].text
    assert HOSTILE[0] in found.one("head").one("title").text


# edges


def cut(results, n):
    """The same with so many classes."""
    for model in results["models"]:
        many = [model["classes"][i % len(model["classes"])] for i in range(n)]
        model["classes"] = [
            entry | {"name": f"{entry['name']} {i}"} for i, entry in enumerate(many)
        ]
        model["n_classes"] = n
    return results


def test_one_class_one_image_no_groups_no_intervals(results):
    results = cut(without_splits(few(results), groups=False), 1)
    for model in results["models"]:
        model.update(n_images=1, n_positive=0, findings=[], provenance={}, map=None, map_rule=None)
        pools = [model, *model["classes"]]
        for entry in (e for pool in pools for e in pool["metrics"].values()):
            entry.update(low=None, high=None)
        model["metrics"]["map"] = {"value": None, "low": None, "high": None}
        (only,) = model["classes"]
        only["reliability"] = {key: values[:1] for key, values in only["reliability"].items()}
        only["n_training"], only["metrics"]["map"] = (
            None,
            {"value": None, "low": None, "high": None},
        )
    found = parsed(results_page(results))
    part = panel(found, 0)
    assert "cannot be told without an interval" in part.all("p")[0].text
    assert "None: nothing stands out" in part.text
    assert not part.all("table", class_="groups")
    (row,) = part.one("table", class_="classes").one("tbody").all("tr")
    assert [td.text for td in row.all("td", class_="right")][-1] == "–"
    assert len(row.one("svg").all("circle", class_="dot")) == 1
    assert "probabilities as they came" in found.one("section", id="map").text


def test_no_text_is_lost_where_no_metric_of_the_summary_was_measured(results):
    results = without_splits(few(results))
    for model in results["models"]:
        for pool in (model, *model["groups"].values(), *model["classes"]):
            pool["metrics"] = {"brier": {"value": 0.1, "low": None, "high": None}}
    found = parsed(results_page(results))
    assert found.one("p", class_="verdict").text == "No model has a calibration error here."
    assert panel(found, 0).all("ul", class_="cards")


def test_size(results):
    some = results_page(cut(copy.deepcopy(results), 80))
    assert len(some.encode()) < 3e6  # of 7 models
    results["models"] = results["models"][:1]
    many = results_page(cut(results, 1203))
    assert len(many.encode()) < 5e6
    assert many.count('<th scope="row"><bdi>class ') == 1203


def test_an_undefined_name_in_a_template_is_an_error(results):
    with pytest.raises(Exception, match="is undefined"):
        render("report.html.j2", title="")


# numbers and marks


@pytest.mark.parametrize(
    ("term", "entry", "text", "ends"),
    [
        (SHARE, (0.40585, 0.398, 0.4136), "40.6 %", "39.8 to 41.4"),
        (SHARE, (0.0026, 0.0019, 0.0032), "0.26 %", "0.19 to 0.32"),
        (SHARE, 0.000743, "0.0743 %", ""),
        (SHARE, 0.5, "50.0 %", ""),
        (SHARE, (0.7357, 0.7357, 0.7357), "73.6 %", "73.6 to 73.6"),
        (POINTS, (0.012, 0.01, 0.014), "+1.20 pts", "+1.00 to +1.40"),
        (POINTS, (-0.00004, -0.0015, 0.0015), "0.00 pts", "−0.15 to +0.15"),
        (POINTS, -0.02, "−2.00 pts", ""),
        (PLAIN, (-10.84, -10.97, -10.68), "−10.8", "−11.0 to −10.7"),
        (PLAIN, None, "–", ""),
        (PLAIN, float("nan"), "–", ""),
        (SHARE, (0.1, None, None), "10.0 %", ""),
        (OWN_TERMS["n_known"], 1234567, "1,234,567", ""),
        (PLAIN, 0.0, "0.0", ""),
    ],
)
def test_numbers_are_rounded_in_one_way(term, entry, text, ends):
    if isinstance(entry, tuple):
        entry = dict(zip(("value", "low", "high"), entry, strict=True))
    found = shown(term, entry)
    assert (found.text.replace("\u00a0", " "), found.ends) == (text, ends)


def test_numbers_of_a_column_have_the_same_decimals():
    """But for those that an interval forces, and those that would be 0."""
    values = [0.00201, 0.000743, 0.00069, 0.0, None]
    texts = [cell.text.replace("\u00a0", " ") for cell in column(SHARE, values)]
    assert texts == ["0.201 %", "0.074 %", "0.069 %", "0.000 %", "–"]
    sharp = {"value": 0.00634, "low": 0.00619, "high": 0.00648}
    cells = column(SHARE, [0.5, 0.0000123, sharp])
    assert [cell.text.replace("\u00a0", " ") for cell in cells] == ["50.0 %", "0.001 %", "0.634 %"]


def test_numbers_are_not_broken_from_their_units():
    template = environment().from_string("{{ text|unbroken }}")
    text = "Classes 3, 4: 2.7 % and 2 points [−0.4, 1.5], of [a, b] 5 images"
    assert template.render(text=text) == (
        "Classes 3, 4: 2.7\u00a0% and 2\u00a0points [−0.4,\u00a01.5], of [a, b] 5 images"
    )


def test_small_chances_are_not_0():
    assert chance(PLAIN, 1e-9).text == "< 0.001"
    assert chance(PLAIN, 0.0412).text == "0.0412"
    assert chance(PLAIN, None).text == "–"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.4, 0.02], ["0", "10", "20", "30", "40"]),
        ([-0.012, 0.003], ["−1.5", "−1.0", "−0.5", "0.0", "0.5"]),
        ([0.0], ["0", "20", "40", "60", "80", "100"]),
        ([None], ["0", "20", "40", "60", "80", "100"]),
        ([7e-6], ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008"]),
    ],
)
def test_an_axis_begins_at_0_and_holds_all(values, ticks):
    shared = axis([shown(SHARE, value) for value in values])
    assert [tick.text for tick in shared.ticks] == ticks
    for value in (v for v in values if v is not None):
        assert 3 <= shared.place(value) <= 97
    assert shared.low <= 0 <= shared.high
    assert shared.place(0.0) in [tick.at for tick in shared.ticks]


def test_reliability_marks_stand_where_their_numbers_say():
    bins = {
        "count": [100, 0, 0, 25],
        "confidence": [0.1, None, None, 0.8],
        "frequency": [0.1, None, None, 0.5],
        "low": [0.05, None, None, 0.7],
        "high": [0.15, None, None, 0.9],
    }
    error = shown(SHARE, {"value": 0.06, "low": 0.05, "high": 0.07})
    chart = reliability_chart(bins, "positive", "x", "M", LOOKS["bce"], error)
    assert chart["right"] - chart["left"] == chart["bottom"] - chart["top"]  # square
    first, last = chart["bins"]
    side = chart["right"] - chart["left"]
    assert last["x"] == pytest.approx(chart["left"] + 0.8 * side)
    assert last["y"] == pytest.approx(chart["bottom"] - 0.5 * side)
    assert last["diagonal"] == pytest.approx(chart["bottom"] - 0.8 * side)
    assert (last["low"], last["high"]) == pytest.approx(
        (chart["bottom"] - 0.7 * side, chart["bottom"] - 0.9 * side)
    )
    assert (first["side"], last["side"]) == ("inside", "over")
    assert first["bar_height"] == 4 * last["bar_height"]
    assert chart["said"] == "M: over-confident above 0.75; ECE 6.0\u00a0% [5.0 to 7.0]."


def test_a_sparkline_is_a_path_and_of_one_bin_a_dot():
    bins = {"bin": [0, 3], "count": [5, 5], "confidence": [0.0, 1.0], "frequency": [0.5, 1.0],
            "low": [0.0, 0.9], "high": [0.1, 1.0]}  # fmt: skip
    found = sparkline(bins, 4)
    assert (found["path"], found["alone"]) == ("M2 20 38 2", None)
    assert found["said"] == "under-confident below 0.25"
    alone = sparkline({key: values[:1] for key, values in bins.items()}, 4)
    assert alone["alone"] == {"x": 2.0, "y": 20.0}
    none = sparkline({key: [] for key in bins}, 4)
    assert (none["alone"], none["said"]) == (None, "no labels")


def test_every_metric_is_called_by_a_name_not_by_its_key(results):
    results["definitions"]["metrics"] = definitions(list(METRICS))
    assert [key for key in METRICS if terms(results)[key].label == key] == []
