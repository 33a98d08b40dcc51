"""The documentation holds together: every link leads somewhere, and the index and the pages know one another."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("hostfiles/*.md"), *ROOT.glob("jobs/**/*.md"),
    *ROOT.glob("tests/**/*.md"), *ROOT.glob("wm_mpi/pretrained/*/*.md")])
INDEX = "docs/README.md"


def prose(page: str) -> str:
    """A page without its code, where brackets mean something else."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^    .*$", "", text, flags=re.M))


def links(page: str) -> list[str]:
    """Targets of links and pictures that are no web addresses."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@cache
def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    names: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.M):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        names.append(name if name not in names else f"{name}-{names.count(name)}")
    return set(names)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page} links to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{page} links to {target}, but that page has no such heading"


def linked(page: str) -> set[str]:
    """Pages that a page links to."""
    found = {((ROOT / page).parent / target.partition("#")[0]).resolve() for target in links(page)}
    return {path.relative_to(ROOT).as_posix() for path in found if path.is_relative_to(ROOT)}


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/") and page != INDEX])
def test_each_page_is_in_the_index_and_links_on(page: str) -> None:
    assert page in linked(INDEX), f"{INDEX} does not list {page}"
    assert INDEX in linked(page), f"{page} does not link back to the index"
    assert len(linked(page) - {INDEX}) >= 2, f"{page} does not link its neighbours"


def test_pictures_are_shown_somewhere() -> None:
    shown = {path for page in PAGES for path in linked(page)}
    for picture in sorted((ROOT / "docs" / "pictures").iterdir()):
        assert picture.relative_to(ROOT).as_posix() in shown, f"no page shows {picture.name}"


WORDS = ("V", "M", "C", "champion", "world", "turn", "generation", "candidate", "episode", "rank", "shard", "latents")


def test_the_glossary_has_the_words_of_the_house() -> None:
    defined = {word.lower() for word in re.findall(r"\*\*([^*]+)\*\*", prose("docs/glossary.md"))}
    assert {word.lower() for word in WORDS} <= defined


@pytest.mark.parametrize("heading,page", [("The champion", "docs/champion.md"), ("Speed", "docs/performance.md")])
def test_the_readmes_tables_agree_with_the_pages_they_come_from(heading: str, page: str) -> None:
    section = re.split(r"^## ", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M)
    table, = (part for part in section if part.startswith(f"{heading}\n"))
    rows = [row for row in re.findall(r"^\|.*\|$", table, flags=re.M)[2:]]
    there = (ROOT / page).read_text(encoding="utf-8").replace("*", "")
    for row in rows:
        figures = "|".join(row.replace("*", "").split("|")[2:])
        assert figures in there, f"README's row {row} is not in {page}"


def test_the_design_says_where_things_are_decided() -> None:
    """Each row of its table names a file, and names in it that are there."""
    table = prose_with_code("docs/design.md").partition("## Where it is decided")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", table, flags=re.M)[1:]
    assert len(rows) >= 10
    for what, where in rows:
        named = re.findall(r"`([^`]+)`", where)
        assert (ROOT / named[0]).is_file(), what
        text = ""
        for name in named:
            if "/" in name:
                assert (ROOT / name).is_file(), f"{what}: there is no {name}"
                text = (ROOT / name).read_text(encoding="utf-8")
            elif "." not in name:
                assert re.search(rf"\b{name}\b", text), f"{what}: {name} is not in its file"


def prose_with_code(page: str) -> str:
    """A page as it is."""
    return (ROOT / page).read_text(encoding="utf-8")


def test_readme_leads_to_the_repository_wherever_it_is_shown() -> None:
    """What PyPI shows of a release: every link and picture is an address, and of a file that there is."""
    home = "https://example.org/us/wm_mpi"
    shown = subprocess.run([sys.executable, "setup.py", "-q", "--long-description"], cwd=ROOT, check=True, text=True,
                           capture_output=True, env={**os.environ, "WM_MPI_REPOSITORY": f"{home}/"}).stdout
    found = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", shown)
    ours = [(picture, address.removeprefix(home)) for picture, address in found if address.startswith(home)]
    assert len(ours) > 10 and all(address.startswith(("https://", "#")) for _, address in found)
    for picture, address in ours:
        kind, path = ("/raw/HEAD/" if picture else "/blob/HEAD/"), address.partition("#")[0]
        assert path.startswith(kind) and (ROOT / path.removeprefix(kind)).exists(), address
