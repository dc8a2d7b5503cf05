"""The HTML reports as a reader meets them: opened as files in headless Chromium.

The browser is the machine's own; no test installs one.
"""

import copy
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_results import fake_results, without_splits
from playwright.sync_api import Browser, Page, sync_playwright
from scipy.special import expit

from ccr_diag.figures.html_report import results_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
ABSENT = "The reports are tested in a browser, but there is none; install one: apt install chromium"
HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    '" onmouseover="window.hacked=1',
)
LONG = "x" * 80
LOAD_SECONDS = 2.0
MANY = 1203
READABLE = 4.5  # contrast of text, WCAG 2.2 level AA
# Relative luminance of WCAG; colours are drawn, so that any notation and any opacity is read.
CONTRAST = """(selectors) => {
  const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const over = (...colours) => {
    for (const colour of colours) { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); }
    return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => rgb
    .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    const found = [];
    for (; e; e = e.parentElement) found.unshift(getComputedStyle(e).backgroundColor);
    return over("white", ...found);
  };
  return selectors.map((selector) => {
    const e = document.querySelector(selector), style = getComputedStyle(e);
    const back = behind(e), ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(back), luminance(over(`rgb(${back})`, ink))];
    return [b > a ? "lighter" : "darker", (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""

AXES = """() => {
  const ends = (e) => { const box = e.getBoundingClientRect(); return [box.left, box.right]; };
  const shown = [...document.querySelectorAll("svg.interval, svg.axis")]
    .filter(e => e.checkVisibility());
  return shown.flatMap((e, i) => e.matches(".axis") ? [[ends(e), ends(shown[i - 1])]] : []);
}"""

INSIDE_IS_SHOWN = "e => e.lastElementChild.checkVisibility()"


@pytest.fixture(scope="module")
def browser():
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None and os.environ.get("CCR_DIAG_BROWSER") == "required":
        pytest.fail(ABSENT)
    if path is None:
        pytest.skip(ABSENT)
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=as_root)
        yield launched
        launched.close()


def open_page(browser: Browser, file: Path) -> tuple[Page, list[str]]:
    """A page, and a list that grows by all that went wrong in it or was asked for by it."""
    page = browser.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("request", lambda asked: asked.url == file.as_uri() or wrong.append(asked.url))
    page.goto(file.as_uri())
    return page, wrong


def smaller(results, models=3, classes=12):
    """The same with fewer models, splits and classes."""
    results["models"] = results["models"][:models]
    for model in results["models"]:
        model["splits"] = model["splits"][:1]
        model["classes"] = model["classes"][:classes]
    return results


def renamed(part, names):
    """The same with other names, wherever they stand."""
    if isinstance(part, dict):
        return {key: renamed(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [renamed(value, names) for value in part]
    return names.get(part, part) if isinstance(part, str) else part


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def record():
    """Results of three models; classes of dangerous names; a value that is undefined."""
    names = {f"class {i}": name for i, name in enumerate(HOSTILE)}
    results = renamed(smaller(fake_results()), names)
    said = ("ED", "NP", "drift", "modality_gap")
    results["definitions"]["geometry"] = dict.fromkeys(said, "made up")
    results["models"][0]["label"] = HOSTILE[0]
    results["models"][1]["label"] = LONG
    results["models"][0]["classes"][5]["metrics"]["map"] = dict.fromkeys(("value", "low", "high"))
    return results


@pytest.fixture(scope="module")
def file(folder, record):
    path = folder / "report.html"
    path.write_text(results_page(record), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def seen(browser, file):
    """For tests that change nothing."""
    page, wrong = open_page(browser, file)
    yield page
    page.close()
    assert wrong == []


@pytest.fixture
def opened(browser, file):
    """A page of its own."""
    page, wrong = open_page(browser, file)
    yield page
    page.close()
    assert wrong == []


def table(page, model=0):
    return page.locator("table.classes").nth(model)


def rows_of(table):
    """Text of each cell of each row that is shown, in order."""
    return table.evaluate(
        "t => [...t.tBodies[0].rows].filter(r => !r.hidden && r.checkVisibility())"
        ".map(r => [...r.cells].map(c => c.textContent.trim()))"
    )


def test_it_opens_without_a_word_and_asks_for_nothing(opened):
    assert opened.title()
    assert opened.locator("h1").count() == 1
    opened.mouse.wheel(0, 5000)
    opened.wait_for_timeout(50)  # what would be fetched late


@pytest.mark.parametrize(("heading", "metric"), [("ECE, positive", "ece_positive"), ("AP", "map")])
def test_columns_sort_both_ways(opened, record, heading, metric):
    of_class = {
        entry["name"]: entry["metrics"][metric]["value"] for entry in record["models"][0]["classes"]
    }
    defined = sorted((name for name in of_class if of_class[name] is not None), key=of_class.get)
    undefined = [name for name in of_class if of_class[name] is None]
    found = table(opened)
    button = found.locator("thead button", has_text=re.compile(f"^{heading}$"))
    button.click()
    assert [row[0] for row in rows_of(found)] == defined + undefined
    assert button.locator("xpath=ancestor::th").get_attribute("aria-sort") == "ascending"
    button.click()
    assert [row[0] for row in rows_of(found)] == defined[::-1] + undefined
    assert button.locator("xpath=ancestor::th").get_attribute("aria-sort") == "descending"


def test_names_sort_by_their_numbers(opened):
    found = table(opened)
    button = found.locator("thead button").first
    button.click()
    names = [row[0] for row in rows_of(found) if re.fullmatch(r"class \d+", row[0])]
    assert names == sorted(names, key=lambda name: int(name.split()[1]))
    assert found.locator("th[aria-sort]:not([aria-sort=none])").count() == 1


def test_a_search_leaves_what_it_names(opened, record):
    found = table(opened)
    opened.locator("input[type=search]").first.fill("CLASS 7")
    names = [entry["name"] for entry in record["models"][0]["classes"]]
    assert [row[0] for row in rows_of(found)] == [name for name in names if "class 7" in name]
    said = opened.locator("[role=status]").first.inner_text()
    assert said == f"{len(rows_of(found))} of {len(names)} shown"
    opened.locator("input[type=search]").first.fill("")
    assert [row[0] for row in rows_of(found)] == names


def test_a_heading_is_reached_and_used_by_keys(opened):
    found = table(opened)
    opened.locator("input[type=search]").first.focus()
    for _ in range(3):
        opened.keyboard.press("Tab")
    heading = opened.locator("button.sort:focus")
    assert heading.count() == 1
    assert heading.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    opened.keyboard.press("Enter")
    assert heading.locator("xpath=ancestor::th").get_attribute("aria-sort") == "ascending"
    counts = [row[heading.evaluate("e => e.closest('th').cellIndex")] for row in rows_of(found)]
    assert counts == sorted(counts, key=lambda text: float(text.replace(",", "")))


def test_the_first_stop_of_the_keyboard_skips_to_the_content(opened):
    opened.keyboard.press("Tab")
    link = opened.locator(":focus")
    assert link.get_attribute("href") == "#main"
    assert link.bounding_box()["x"] >= 0


def test_numbers_are_those_of_the_record(seen, record):
    shown = seen.evaluate(
        "() => [...document.querySelectorAll('section.panel table.classes')].map(t =>"
        " [...t.tBodies[0].rows].map(r => [...r.cells].filter(c => 'value' in c.dataset)"
        ".map(c => Number(c.dataset.value))))"
    )
    keys = ("ece_positive", "signed_error", "map")
    for model, rows in zip(record["models"], shown, strict=True):
        for entry, row in zip(model["classes"], rows, strict=True):
            expected = [entry["metrics"][key]["value"] for key in keys]
            assert row[-len([v for v in expected if v is not None]) :] == [
                value for value in expected if value is not None
            ]


def test_texts_round_the_numbers_beside_them(seen):
    """Shares are shown in percent, signed ones in points; else the number itself."""
    cells = seen.evaluate(
        "() => [...document.querySelectorAll('td[data-value]')].filter(c => c.checkVisibility())"
        ".map(c => [Number(c.dataset.value), (c.querySelector('.number') || c.firstChild)"
        ".textContent.trim()])"
    )
    assert len(cells) > 80
    for value, text in cells:
        if text == "< 0.001":
            assert value < 0.001
            continue
        number, unit = re.fullmatch(r"([+−]?[\d,.]+)(?:[  \xa0](%|pts))?", text).groups()
        said = float(number.replace("−", "-").replace(",", "")) / (100 if unit else 1)
        decimals = len(number.partition(".")[2]) + (2 if unit else 0)
        assert abs(said - value) <= 0.5001 * 10.0**-decimals, (value, text)


def test_a_name_is_text_and_nothing_else(opened):
    assert opened.evaluate("window.hacked") is None
    names = [row[0] for row in rows_of(table(opened))]
    assert names[: len(HOSTILE)] == list(HOSTILE)
    table(opened).locator("tbody th").nth(2).hover()
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("img").count() == 0


def test_one_model_is_shown_at_a_time(opened, record):
    panels = opened.locator("section.panel")
    assert panels.count() == len(record["models"])
    opened.locator("select[data-choose=model]").select_option(index=1)
    assert [panels.nth(i).is_visible() for i in range(3)] == [False, True, False]


def test_headings_are_in_order_and_pictures_say_what_they_show(seen):
    levels = seen.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    silent = seen.evaluate(
        "() => [...document.querySelectorAll('svg')].filter(s => s.getAttribute('role') === 'img'"
        " ? !s.querySelector('title')?.textContent.trim() : s.ariaHidden !== 'true').length"
    )
    assert silent == 0
    assert seen.locator("svg[role=img]").count() > 10
    assert seen.locator("table:not(:has(caption))").count() == 0
    assert seen.locator("html[lang=en]").count() == 1


def test_identities_are_unique_and_links_lead_somewhere(seen):
    ids = seen.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    targets = seen.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.hash.slice(1))")
    assert set(targets) <= set(ids)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    places = ["body", ".verdict", "p.muted", "figcaption", ".bar a", "td .ends", "svg text",
              "input[type=search]", "thead th"]  # fmt: skip
    for place, (side, contrast) in zip(places, opened.evaluate(CONTRAST, places), strict=True):
        assert (side, contrast >= READABLE) == (
            "lighter" if scheme == "dark" else "darker", True
        ), (place, contrast)  # fmt: skip


def test_printed_it_shows_everything_on_white(opened, record):
    folded = opened.locator("details:visible").first
    assert not folded.evaluate(INSIDE_IS_SHOWN)
    opened.emulate_media(media="print", color_scheme="dark")
    assert folded.evaluate(INSIDE_IS_SHOWN)
    ((side, contrast),) = opened.evaluate(CONTRAST, ["body"])
    assert side == "darker"
    assert contrast > 15
    assert not opened.locator("input[type=search]").first.is_visible()
    assert len(rows_of(table(opened))) == len(record["models"][0]["classes"])


def test_axes_have_the_ends_of_what_stands_above_them(seen):
    assert_axes_fit(seen)


def test_on_a_phone_nothing_hangs_over(opened):
    opened.set_viewport_size({"width": 390, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_its_script_all_of_it_is_there(browser, file, record):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator(".verdict").inner_text()
    tables = page.locator("table.classes")
    assert tables.count() == len(record["models"])
    for i in range(tables.count()):
        assert tables.nth(i).locator("tbody tr").last.is_visible()
    assert not page.locator("input[type=search]").first.is_visible()
    context.close()


def test_a_thousand_classes_load_in_two_seconds(browser, folder):
    results = without_splits(smaller(fake_results(), models=1))
    (model,) = results["models"]
    model["classes"] = [
        copy.copy(model["classes"][i % len(model["classes"])]) | {"name": f"class {i}"}
        for i in range(MANY)
    ]
    model["n_classes"] = MANY
    path = folder / "many.html"
    path.write_text(results_page(results), encoding="utf-8")
    assert path.stat().st_size < 5e6
    page = browser.new_page()
    # Seconds of processor: the same on a machine that does much else.
    told = page.context.new_cdp_session(page)
    told.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    assert page.locator("table.classes tbody tr").count() == MANY
    found = {m["name"]: m["value"] for m in told.send("Performance.getMetrics")["metrics"]}
    assert 0 < found["TaskDuration"] < LOAD_SECONDS
    page.close()


def assert_axes_fit(page):
    """Every axis in sight is as wide as the marks above it, so that its ticks are theirs."""
    ends = page.evaluate(AXES)
    assert ends
    for axis, mark in ends:
        assert axis == pytest.approx(mark, abs=0.1)


@pytest.fixture(scope="module")
def predictions(folder):
    """Two files of predictions, the second far too sure."""
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1, (80, 5))
    y = (rng.uniform(size=z.shape) < expit(z)).astype(np.int8)
    names = np.array([*HOSTILE[:2], "dog", "cat", "cow"])
    groups = np.array(["head", "head", "tail", "tail", "new"])
    for name, factor in (("a", 1.0), ("b", 3.0)):
        content = {"labels": y, "class_names": names, "groups": groups}
        np.savez(folder / f"{name}.npz", logits=factor * z, **content)
    return folder / "a.npz", folder / "b.npz"


def values_below(page, place):
    """Every number that a part of a page holds, in full precision."""
    return page.evaluate(
        "place => [...document.querySelectorAll(place)].map(e => Number(e.dataset.value))", place
    )


def test_an_analysis_writes_a_report_that_opens(ccr, browser, folder, predictions):
    out, file = folder / "results.json", folder / "analysis.html"
    told = ccr(
        "analyze", "predictions", *predictions, "--bootstrap", 2, "--format", "json", "-o", out,
        "--report", file,
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    (pair,) = json.loads(out.read_text())["differences"]["pairs"]
    page, wrong = open_page(browser, file)
    keys = ("a", "b", "difference", "p", "p_holm")
    shown = values_below(page, "#differences td .number[data-value]")
    assert shown == [row[key] for row in pair["rows"] for key in keys if row[key] is not None]
    assert page.evaluate("window.hacked") is None
    assert wrong == []
    page.close()


def test_a_comparison_writes_a_report_that_opens(ccr, browser, folder, predictions):
    out, file = folder / "comparison.json", folder / "comparison.html"
    told = ccr(
        "compare", *predictions, "--bootstrap", 2, "--by", "class", "--metric", "ece_positive",
        "--format", "json", "-o", out, "--report", file,
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    rows = json.loads(out.read_text())["differences"]
    page, wrong = open_page(browser, file)
    assert page.title() == "b against a"
    found = table(page)
    places = "#class-differences tr td:nth-of-type(5)"
    assert values_below(page, places) == [row["difference"] for row in rows]
    found.locator("thead button", has_text="difference").first.click()
    order = [row["class"] for row in sorted(rows, key=lambda row: row["difference"])]
    assert [row[0] for row in rows_of(found)] == order
    assert_axes_fit(page)
    page.locator("input[type=search]").fill("script")
    assert [row[0] for row in rows_of(found)] == [HOSTILE[1]]
    for scheme, side in (("dark", "lighter"), ("light", "darker")):
        page.emulate_media(color_scheme=scheme)
        seen = page.evaluate(CONTRAST, ["body", ".directions", ".forest svg text", "caption"])
        assert {where for where, _ in seen} == {side}
        assert min(contrast for _, contrast in seen) >= READABLE
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("window.hacked") is None
    assert wrong == []
    page.close()
