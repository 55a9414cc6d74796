"""Builds the site of documents: ``python docs/site/build.py``, or ``make site``.

Pages keep the places that they have in the repository, so that the links that work there work here. Added are the
notebook as a page, a page for each method, the suites and the API reference.
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import reference_pages
from notebook_page import as_markdown

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
SETTINGS = Path(__file__).with_name("mkdocs.yml")
COPIED = (
    "*.md",
    "LICENSE",
    "docs/*.*",
    "results/*.md",
    "results/index.html",
    "results/figures/*",
    "results/*/trials/*",
    "suites/*.yaml",
)
RENAMED = {
    "docs/first_steps.ipynb": "docs/first_steps.md",
    "results/index.html": "results/page.html",  # results/README.md becomes index.html
}
NAVIGATION = '<nav aria-label="Parts of this page">'  # of the page of all results
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def gather(sources: Path) -> None:
    """Copies what the site shows from the repository into the empty folder ``sources``."""
    for pattern in COPIED:
        for path in sorted(TOP.glob(pattern)):
            name = path.relative_to(TOP).as_posix()
            target = sources / RENAMED.get(name, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".ipynb":
                target.write_text(as_markdown(path.read_text(encoding="utf-8")), encoding="utf-8")
            elif path.suffix == ".md":
                text = path.read_text(encoding="utf-8").replace("<details>", '<details markdown="1">')
                target.write_text(text, encoding="utf-8")
            elif name == "results/index.html":
                target.write_text(with_way_back(path.read_text(encoding="utf-8")), encoding="utf-8")
            else:
                shutil.copyfile(path, target)
    shutil.copyfile(Path(__file__).with_name("site.css"), sources / "site.css")


def with_way_back(page: str) -> str:
    """The page of all results with links to the site, of which it is a part here."""
    assert page.count(NAVIGATION) == 1, "the page of results has another navigation"
    return page.replace(
        NAVIGATION, f'{NAVIGATION}<a href="index.html">← Results</a><a href="../index.html">ue-bench</a>'
    )


def mend_links(page: Path, sources: Path) -> str:
    """A page's text with its links to renamed files, to folders, and to files that the site did not hold yet."""

    def target(found: re.Match[str]) -> str:
        place = (TOP / page.relative_to(sources).parent / found[1]).resolve()
        if not place.is_relative_to(TOP) or not (
            place.exists() or (sources / place.relative_to(TOP)).exists()
        ):
            return found[1]  # mkdocs says that it is broken
        name = place.relative_to(TOP).as_posix()
        if place.is_dir():
            return f"{found[1].rstrip('/')}/README.md"
        if name in RENAMED:
            return f"{found[1].removesuffix(place.name)}{Path(RENAMED[name]).name}"
        if not (sources / name).exists():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, sources / name)
        return found[1]

    return LINK.sub(target, page.read_text(encoding="utf-8"))


def write(sources: Path, pages: Mapping[str, str | bytes]) -> None:
    """Writes generated files: name below ``sources`` -> content."""
    for name, content in pages.items():
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (sources / name).write_bytes(data)


def navigation(nav: list[dict[str, list[Any]]], sources: Path) -> list[dict[str, list[Any]]]:
    """The sections of mkdocs.yml with the pages that are found: results, methods, reference."""
    sections = {title: pages for section in nav for title, pages in section.items()}
    order = (sources / "results" / "README.md").read_text(encoding="utf-8")
    results = sorted(
        (path.name for path in (sources / "results").glob("*.md") if path.name != "README.md"),
        key=lambda name: (order.find(f"({name})") % (len(order) + 1), name),  # as the overview lists them
    )
    methods = sorted(path.name for path in (sources / "docs" / "methods").glob("*.md"))
    sections["Read results"] += [f"results/{name}" for name in results]
    sections["Methods"] += [f"docs/methods/{name}" for name in methods]
    sections["Add a method"].append({"API reference": list(reference_pages.pages())})
    return nav


def build(target: Path, sources: Path) -> None:
    """Puts the sources together and builds the site."""
    import method_pages
    import yaml

    shutil.rmtree(sources, ignore_errors=True)
    gather(sources)
    write(sources, method_pages.pages())
    write(sources, reference_pages.pages())
    overview = sources / "docs" / "methods.md"
    overview.write_text(method_pages.with_links(overview.read_text(encoding="utf-8")), encoding="utf-8")
    for page in sorted(sources.rglob("*.md")):
        page.write_text(mend_links(page, sources), encoding="utf-8")
    nav = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["nav"]
    render(target, sources, navigation(nav, sources))


def render(target: Path, sources: Path, nav: list[Any]) -> None:
    """Renders Markdown as HTML; a warning, such as a broken link, is printed and ends the program."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    logging.basicConfig(format="%(levelname)s: %(message)s")  # mkdocs warns by it
    config = load_config(str(SETTINGS), docs_dir=str(sources), site_dir=str(target), nav=nav, strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build_site(config)
    except Abort as error:
        sys.exit(str(error))
    config.plugins.on_shutdown()
    (target / "404.html").unlink(missing_ok=True)  # its addresses only hold at the top of a host


if __name__ == "__main__":
    words = argparse.ArgumentParser(description="Builds the site of documents.")
    words.add_argument("--to", type=Path, default=BUILD / "site", help="the folder of the site")
    words.add_argument(
        "--sources", type=Path, default=BUILD / "site-sources", help="where its sources are put together"
    )
    given = words.parse_args()
    build(given.to.resolve(), given.sources.resolve())
    print(f"built {given.to}: open {given.to / 'index.html'}")
    print(f"its search needs a server: python -m http.server --directory {given.to}")
