"""The pages of docs/tasks are followed from top to bottom: a reader gets what they show, pictures included."""

import re
from pathlib import Path

import pytest
from pages import ROOT, Shell, follow, read_blocks

TASKS = ROOT / "docs" / "tasks"
PAGES = sorted(TASKS.glob("*.md"))
LARGEST_PICTURE = 120_000  # bytes: all of them are in every clone


def pictures_of(page: Path) -> list[str]:
    return re.findall(r"\]\(([\w-]+\.png)\)", page.read_text())


# A Ray cluster is half a minute's work for two cores.
FOLLOWED = [
    pytest.param(page, marks=[pytest.mark.full_size] * (page.stem == "batch-on-ray"), id=page.stem) for page in PAGES
]


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_prints_and_draws_what_it_shows(page: Path, shell: Shell) -> None:
    for step, printed, shown in follow(page, shell):
        assert printed == shown, step
    assert [picture for picture in pictures_of(page) if not (shell.folder / picture).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (TASKS / "README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (TASKS / link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.stem)
def test_a_page_has_commands_and_a_small_picture(page: Path) -> None:
    assert read_blocks(page)
    assert pictures_of(page)
    assert all((TASKS / picture).stat().st_size < LARGEST_PICTURE for picture in pictures_of(page))
