"""The site of documents. Skipped, with the reason, where mkdocs or, for some, a browser is not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browsers import a_browser

from ue_bench.registry import Registry

TOP = Path(__file__).parents[2]
BUILD = TOP / "docs" / "site" / "build.py"
ALL = "results/page.html"
ENTRIES = (
    "Start",
    "Run",
    "Read results",
    "Add a method",
    "Protect pictures",
    "Many machines",
    "Protocol",
    "Design",
)
LOADED = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}


class Page(HTMLParser):
    """What a page loads, and its text.

    Attributes:
        loads: addresses of scripts, styles, pictures, fonts and frames.
        text: all of its text.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.loads: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        has = dict(attrs)
        if tag == "link" and LOADED & set(has.get("rel", "").split()):
            self.loads.append(has["href"])
        if tag not in ("link", "a"):
            self.loads += [has[name] for name in ("src", "srcset", "data", "poster") if has.get(name)]
        self.loads += re.findall(r"url\(([^)]*)\)", has.get("style") or "")

    def handle_data(self, data):
        self.text += data
        if self.cdata_elem == "style":
            self.loads += addresses(data)


def addresses(style):
    return re.findall(r"(?:url\(|@import\s+)['\"]?([^'\")]*)", style)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(name, reason="pip install 'ue-bench[site]'")
    folder = tmp_path_factory.mktemp("site")
    words = ["--to", str(folder / "site"), "--sources", str(folder / "sources")]
    ended = subprocess.run([sys.executable, str(BUILD), *words], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site, pages):
    assert len(pages) > 40
    for name, page in pages.items():
        assert page.loads or name == ALL, name
        assert not [found for found in page.loads if re.match(r"\s*(\w+:)?//", found)], name
    styles = list(site.rglob("*.css"))
    assert styles
    for path in styles:
        assert not [found for found in addresses(path.read_text()) if re.match(r"(\w+:)?//", found)], path


def test_the_check_of_loads_finds_what_leaves(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        '<link rel="stylesheet" href="https://a.example/a.css"><script src="//b.example/b.js"></script>'
        '<style>@import "http://c.example/c.css"; p { background: url(http://d.example/d) }</style>'
        '<a href="https://e.example">e</a><link rel="canonical" href="https://f.example">'
    )
    assert [re.search(r"(\w)\.example", found)[1] for found in Page(path).loads] == list("abcd")


def test_every_method_has_a_page_and_the_overview_leads_there(site, pages):
    overview = (site / "docs" / "methods.html").read_text(encoding="utf-8")
    for entry in Registry().entries("methods"):
        page = pages[f"docs/methods/{entry.name}.html"]
        for item in entry.reading.parameters:
            assert item.name in page.text
        assert f'href="methods/{entry.name}.html"' in overview
    em = pages["docs/methods/em.html"].text
    assert "may see: images, labels, captions" in em
    measured = re.findall(r"\d+\.\d\d ± \d+\.\d\d", em)
    assert measured and set(measured) <= set(re.findall(r"\d+\.\d\d ± \d+\.\d\d", pages[ALL].text))
    assert "official_one_sided" in em.rpartition("Where paper and code differ")[2].partition("Settings\n")[0]
    assert any(load.endswith(".webp") for load in pages["docs/methods/em.html"].loads), "its noise"


def test_people_find_their_way(site, pages):
    start = (site / "index.html").read_text(encoding="utf-8")
    tabs = start.partition('class="md-tabs"')[2].partition("</nav>")[0]
    named = [" ".join(found.split()) for found in re.findall(r'class="md-tabs__link">([^<]*)<', tabs)]
    assert [name for name in named if name in ENTRIES] == list(ENTRIES)
    for name in ("docs/first_steps.html", ALL, "docs/api/index.html", "suites/index.html"):
        assert name in pages
    assert "ue_bench.protect" in pages["docs/api/index.html"].text
    results = (site / ALL).read_text(encoding="utf-8")
    assert '<a href="index.html">← Results</a><a href="../index.html">ue-bench</a>' in results


def test_every_link_leads_somewhere(site):
    for path in site.rglob("*.html"):
        for address in re.findall(
            r'(?:href|src)="([^"#?:]+)(?:[#?][^"]*)?"', path.read_text(encoding="utf-8")
        ):
            assert (path.parent / unquote(address)).exists(), (path.relative_to(site), address)


@pytest.mark.parametrize(("target", "broken"), [("other.md", False), ("docs/absent.md", True)])
def test_a_broken_link_ends_the_build(site, tmp_path, target, broken):
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "README.md").write_text(f"# A page\n\n[a link]({target})\n")
    (sources / "other.md").write_text("# Another\n")
    code = (
        f"import sys; sys.path.insert(0, {str(BUILD.parent)!r}); from pathlib import Path; import build; "
        f"build.render(Path({str(tmp_path / 'site')!r}), Path({str(sources)!r}), ['README.md', 'other.md'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode != 0) == broken, ended.stderr
    assert (target in ended.stderr and "strict mode" in ended.stderr) == broken


@pytest.mark.parametrize("name", ["index", "docs/methods/em", "docs/api/contracts", "docs/first_steps"])
def test_in_a_browser_nothing_leaves_and_a_phone_shows_all(site, name):
    troubles = []
    with a_browser() as browser:
        page = browser.new_context(offline=True, viewport={"width": 375, "height": 800}).new_page()
        page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or troubles.append(r.url))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: said.type == "error" and troubles.append(said.text))
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert troubles == []
