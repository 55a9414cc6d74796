"""The page in a real browser. Skipped, with the reason, where Playwright or a Chromium is not installed."""

from __future__ import annotations

import csv

import pytest
from browsers import a_browser
from reports import CLEAN, RANDOM, entry, seeds, world

from ue_bench.report import build_report, render

SCRIPT = "<script>alert(1)</script>"
DEFENSES = ("none", "jpeg", "cutout")


def many():
    """(trial, record) of three defenses, two victims and four methods, one of them with a hostile name."""
    pairs = []
    for place, (defense, victim) in enumerate((d, v) for d in DEFENSES for v in ("net", "wide_net")):
        here = {"defense": defense, "victim": victim}
        pairs += seeds({**CLEAN, **here}, [90.0 - place, 92.0])
        pairs += seeds({**RANDOM, **here}, [88.0, 89.0 - place])
        for number, method in enumerate(("mine", "b", SCRIPT)):
            pairs += seeds({"method": method, **here}, [10.0 + 7 * number + place, 12.0 * (number + 1)])
    missing = entry(method="=absent", defense="jpeg")
    return [*pairs, (missing, None)]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    report = build_report(*world(many(), title="A page"))
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render(report, "html"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with a_browser() as found:
        yield found


@pytest.fixture
def opened(browser, address):
    """Opens the page offline; ``page.troubles`` are requests that left and errors."""
    contexts = []

    def open_page(hash="", at=address, **settings):
        context = browser.new_context(offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.troubles = []
        page.on(
            "request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or page.troubles.append(r.url)
        )
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("console", lambda m: m.type in ("error", "warning") and page.troubles.append(m.text))
        page.on("dialog", lambda dialog: page.troubles.append(dialog.message))
        page.goto(at + hash)
        return page

    yield open_page
    for context in contexts:
        context.close()


def column(page, key, shown="tr:not([hidden])"):
    cells = page.locator(f"#cells tbody {shown} .k-{key}")
    return cells.evaluate_all("all => all.map(cell => cell.dataset.v ?? cell.dataset.t ?? cell.textContent)")


def press(page, key):
    page.locator(f"#cells thead [data-key={key}] button").click()


def test_nothing_leaves_and_nothing_fails(opened):
    page = opened()
    assert page.locator("#count").text_content() == "31 of 31 rows"
    for key in ("result", "method", "difference"):
        press(page, key)
    page.locator("#cells tbody button").first.click()
    assert page.troubles == []
    assert page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'refused')") == "refused"


@pytest.mark.parametrize("key", ["result", "difference", "victim", "method"])
def test_the_order_is_pythons_and_what_is_missing_stands_last(opened, key):
    page = opened()
    before = column(page, key)
    numeric = key in ("result", "difference")
    known = [v for v in before if v != "–" and not (numeric and v == "missing")]
    rest = [v for v in before if v not in known]
    value = float if numeric else str.lower
    for reverse, state in ((False, "ascending"), (True, "descending")):
        press(page, key)
        assert column(page, key) == sorted(known, key=value, reverse=reverse) + rest
        assert page.locator(f"#cells thead [data-key={key}]").get_attribute("aria-sort") == state
    press(page, key)
    assert column(page, key) == before, "the third press gives the first order back"


def test_filters_search_and_complete_rows(opened):
    page = opened()
    page.locator(".filter[data-key=defense] summary").click()
    for value in ("jpeg", "cutout"):
        page.locator(f".filter[data-key=defense] input[value={value}]").check()
    assert set(column(page, "defense")) == {"jpeg", "cutout"} and len(column(page, "defense")) == 21
    page.locator("h2").first.click()
    assert page.locator(".filter[open]").count() == 0, "a press elsewhere closes the list"
    page.fill("#q", "WIDE mine")
    assert column(page, "method") == ["mine", "mine"]
    page.fill("#q", "")
    page.check("#complete")
    assert "=absent" not in column(page, "method") and len(column(page, "method")) == 20
    page.click("#reset")
    assert page.locator("#count").text_content() == "31 of 31 rows"


def test_csv_holds_what_is_shown(opened):
    page = opened()
    page.fill("#q", "jpeg")
    press(page, "result")
    page.locator("#hide summary").click()
    page.locator("#hide input[value=psnr]").uncheck()
    with page.expect_download() as download:
        page.click("#csv")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [m.replace("=", "'=") for m in column(page, "method")]
    assert "psnr" not in lines[0] and "budget" in lines[0]
    first = lines[0]
    assert first["method"] == "mine" and float(first["result"]) == 12.0 and first["defense"] == "jpeg"
    assert float(first["result_sd"]) == 0.0 and float(first["difference_low"]) < float(first["difference"])
    assert lines[-1]["result"] == "" and lines[-1]["method"] == "'=absent"


def test_a_link_restores_its_view(opened, address):
    page = opened()
    page.fill("#q", "net")
    press(page, "result")
    press(page, "result")
    page.locator(".filter[data-key=method] summary").click()
    page.locator(".filter[data-key=method] input[value=b]").check()
    page.locator("h2").first.click()
    page.locator("#hide summary").click()
    page.locator("#hide input[value=n]").uncheck()
    page.locator("#cells tbody tr:not([hidden]) button").first.click()
    again = opened(page.url.removeprefix(address))
    assert column(again, "result") == column(page, "result") and set(column(again, "method")) == {"b"}
    assert again.input_value("#q") == "net" and not again.locator("#cells thead .k-n").is_visible()
    assert (
        again.locator(".detail:popover-open h3").inner_text()
        == page.locator(".detail:popover-open h3").inner_text()
    )
    assert again.troubles == []


def test_without_javascript_everything_is_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("#cells tbody tr").count() == 31 and not page.locator("#q").is_visible()
    assert page.locator(".heat").count() == 1 and page.locator("#cells .k-suite").first.is_visible()
    page.locator("#cells tbody button").first.click()
    assert "abc1234" in page.locator(".detail:visible").inner_text(), "a row opens without a script"
    page.keyboard.press("Escape")
    assert page.locator(".detail:visible").count() == 0


def test_what_others_wrote_stays_text(opened):
    page = opened()
    names = page.locator("#cells tbody .k-method button", has_text=SCRIPT)
    assert names.count() == 6 and page.locator("script").count() == 1 and page.troubles == []


def test_a_keyboard_is_enough(opened):
    page = opened()
    page.locator("#cells thead [data-key=result] button").focus()
    page.keyboard.press("Enter")
    assert page.locator("[data-key=result]").first.get_attribute("aria-sort") == "ascending"
    page.locator("#cells tbody button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".detail:popover-open").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".detail:popover-open").count() == 0
    assert page.get_by_role("columnheader", name="result", exact=True).count() == 1
    assert page.get_by_role("rowheader").count() >= 31, "a screen reader still meets a table"
    unnamed = "all => all.filter(e => !(e.textContent.trim() || e.getAttribute('aria-label'))).length"
    assert page.locator("button, a, summary").evaluate_all(unnamed) == 0


def test_a_telephone_scrolls_down_only(opened):
    page = opened(viewport={"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.locator("#cells tbody button").first.click()
    box = page.locator(".detail:popover-open").bounding_box()
    assert box["x"] >= 0 and box["width"] <= 375


def test_on_paper_every_column_is_there(opened):
    page = opened(viewport={"width": 1046, "height": 720})  # A4 across, without its margins
    page.emulate_media(media="print")
    heads = page.locator("#cells thead th:visible")
    boxes = [heads.nth(n).bounding_box() for n in range(heads.count())]
    assert len(boxes) > 12 and len({box["y"] for box in boxes}) == 1, "headings stand side by side"
    assert boxes[-1]["x"] + boxes[-1]["width"] <= 1046
    assert not page.locator(".tools").is_visible() and page.locator(".heat").is_visible()


def test_dark_and_light_can_be_read(opened):
    def contrasts(page):
        """The least contrast of text on its own background among the heat map's tiles, by the WCAG's formula."""
        return page.evaluate(
            """() => {
              const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
              const light = (colour) => {
                pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map((x) => x / 255)
                  .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
              const paper = getComputedStyle(document.documentElement).backgroundColor;
              const tiles = Array.from({ length: 11 }, (_, n) => {
                const tile = document.createElement("td");
                tile.className = `tile h${n}`;
                document.querySelector(".heat tbody tr:last-child").append(tile);
                const style = getComputedStyle(tile);
                return ratio(light(style.color), light(style.backgroundColor));
              });
              return [light(paper), Math.min(...tiles)];
            }"""
        )

    for scheme, dark in (("light", False), ("dark", True)):
        paper, least = contrasts(opened(color_scheme=scheme))
        assert (paper < 0.1) == dark and least >= 4.5, (scheme, least)
