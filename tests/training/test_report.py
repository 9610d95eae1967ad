"""The report of a run: nothing in it runs or is loaded, and it says what the run holds."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from strata_training import runs
from strata_training.errors import NotFound, Unreadable
from strata_training.report import write_report
from training.reports import CLASSES, RUN, Page, make_recurrent, write_run
from training.workplace import Invoke, Workplace


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write the report of a run with hostile names once, and work in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("hostile"))
        write_run()
        yield write_report(RUN).page


def test_a_page_with_hostile_names_holds_nothing_that_runs_or_is_loaded(hostile: Path) -> None:
    page = Page(hostile)
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"script", "svg", "iframe", "object", "link", "base", "form", "i", "tt", "u"}
    )
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    assert all(uri.startswith("data:image/png;base64,") for uri in page.attributes("src"))
    assert all(target.startswith("#") for target in page.attributes("href"))
    assert not names & {"srcset", "action", "formaction", "data", "poster", "background"}
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_the_page_lets_a_browser_load_only_its_own_pictures_and_its_one_style(hostile: Path) -> None:
    page = Page(hostile)
    (policy,) = (attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert (
        policy == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_every_hostile_name_is_shown_as_text_without_its_control_characters(hostile: Path) -> None:
    text = Page(hostile).text
    for name in [CLASSES[0], CLASSES[1], CLASSES[2], CLASSES[7], CLASSES[8], RUN, "<svg onload=alert(1)>.png"]:
        assert name in text
    assert "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b" in text
    assert "half\N{REPLACEMENT CHARACTER}" in text
    assert CLASSES[3] not in text
    assert "_longlong" in text
    assert "secret" not in text


def test_the_pictures_of_the_page_lie_beside_it_and_each_says_what_it_shows(hostile: Path) -> None:
    page = Page(hostile)
    within = {base64.b64decode(uri.split(",")[1]) for uri in page.attributes("src")}
    beside = {path.name: path.read_bytes() for path in hostile.parent.glob("*.png")}
    assert set(beside.values()) == within
    assert beside.keys() >= {"curves.png", "confusion.png", "filters.png", "mistake-01.png", "features-high.png"}
    assert all(len(alt) > 20 for alt in page.attributes("alt"))
    assert len(page.attributes("alt")) == len(page.attributes("src"))


def test_the_same_run_gives_the_same_bytes_and_an_older_report_is_gone(hostile: Path) -> None:
    before = {path.name: path.read_bytes() for path in hostile.parent.iterdir()}
    (hostile.parent / "stale.png").touch()
    assert write_report(RUN).pictures == len(before) - 1
    assert {path.name: path.read_bytes() for path in hostile.parent.iterdir()} == before


@pytest.mark.usefixtures("empty_folder")
def test_a_run_that_is_damaged_keeps_its_older_report() -> None:
    folder = write_run("small", ("a", "b"))
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("older")
    (folder / runs.HELD_OUT).write_bytes(b"PK")
    files = sorted(folder.iterdir())
    with pytest.raises(Unreadable, match=r"held_out\.npz"):
        write_report("small")
    assert (folder / "report" / "index.html").read_text() == "older"
    assert sorted(folder.iterdir()) == files


@pytest.mark.usefixtures("empty_folder")
def test_without_a_finished_run_there_is_no_report() -> None:
    with pytest.raises(NotFound):
        write_report("nothing")


def test_a_network_that_cannot_be_exported_is_reported_with_the_reason(empty_folder: Path) -> None:
    write_run("odd", ("a", "b"), make_recurrent())
    page = Page(write_report("odd").page)
    assert "it cannot be exported" in page.text
    assert "layer 'memory' has 3 outputs" in page.text
    assert "(3 x 3 x 3 + 1) x 2 = 56" in page.text
    assert (empty_folder / "runs" / "odd" / "report" / "features-low.png").exists()


def test_the_command_writes_the_page_and_says_what_comes_next(workplace: Workplace, strata_train: Invoke) -> None:
    result = strata_train("report", "--run", "digits")
    assert result.exit_code == 0
    assert result.stdout.startswith("runs/digits/report/index.html: ")
    assert result.stdout.endswith("\nNext: strata-train export --from digits --model digits --models models\n")
    text = Page(workplace.run.folder / "report" / "index.html").text
    assert f"{100 * workplace.run.record.training.test_accuracy:.2f}%" in text
    assert workplace.run.record.training.data_digest in text
    assert "(3 x 3 x 1 + 1) x 25 = 250" in text
    assert "28 x 28 x 25 x 3 x 3 x 1 = 176,400" in text
    assert "2450 x 128 = 313,600" in text
    assert "Every layer is near enough." in text
