"""Links lead somewhere, images are there and light, and paths in backticks exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DIARY, ROOT, anchors, code_spans, links, pages, text_of

HEAVIEST = 150_000  # bytes of an image
OWN_PATH = re.compile(r"(glip_cli|tests|docs|scripts|benchmarks)/[\w./-]+")
LONGEST = 145  # lines of a page about a command


@pytest.mark.parametrize("page", [*pages(), DIARY])
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(target.resolve().relative_to(ROOT).as_posix()), f"{page}: no heading for {link}"


@pytest.mark.parametrize("page", pages())
def test_paths_in_backticks_exist(page: str) -> None:
    named = [span for span in code_spans(page) if OWN_PATH.fullmatch(span)]
    assert [path for path in named if not (ROOT / path).exists()] == []


IMAGES = [path for path in sorted((ROOT / "docs" / "images").iterdir()) if path.suffix != ".md"]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_images_are_light_and_shown(path: Path) -> None:
    assert path.stat().st_size < HEAVIEST
    assert any(f"images/{path.name}" in text_of(page) for page in pages())


def test_the_index_lists_every_page() -> None:
    listed = {link for link in links("docs/README.md") if "/" not in link}
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert listed == there


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("docs/")])
def test_pages_are_short(page: str) -> None:
    assert len(text_of(page).splitlines()) <= LONGEST
