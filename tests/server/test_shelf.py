"""Of a version that is served no more nothing is kept, and nobody who asked it is let down."""

import gc
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import SIDE, tiny_answer, tiny_model, write_artifact
from strata_server.artifact import read_artifact
from strata_server.batching import Batcher
from strata_server.configuration.model_settings import ModelSettings
from strata_server.control import Json
from strata_server.deadline import Deadline
from strata_server.engine import Answer, Engine
from strata_server.errors import ArtifactError, NotFound, Overloaded, Unservable
from strata_server.opening import Opener
from strata_server.plans import Outcome
from strata_server.repository import Repository
from strata_server.runtime import choose_device
from strata_server.settings import BatchSettings, DeviceSettings, Limits, Settings
from strata_server.shelf import Shelf
from strata_server.version import Version

BROKEN: dict[str, Json] = {"7": {"path": "nowhere/model.onnx", "digest": "none"}}
IMAGE = np.random.default_rng(3).random((1, SIDE, SIDE, 1), np.float32)


class Server:
    """What a process serves with, but for a transport."""

    def __init__(self, models: Path) -> None:
        devices = DeviceSettings(device="cpu")
        self.models = models
        self.repository = Repository()
        self.engine = Engine(self.repository, Limits())
        self.batcher = Batcher(BatchSettings())
        self.opener = Opener(Settings(models=models, devices=devices), choose_device(devices))
        self.shelf = Shelf(self.repository, self.opener, lambda _: None, self._retire)

    def _retire(self, version: Version) -> None:
        self.batcher.retire(version, partial(self.opener.sessions.release, version))

    def write(self, version: int, factor: float = 2) -> dict[str, Json]:
        """Write an artifact, and return it as changes tell it."""
        path = write_artifact(self.models, version=version, model=tiny_model(factor))
        return {"path": str(path), "digest": read_artifact(path).digest}

    def put(self, *numbers: int, settings: ModelSettings | None = None, **wrong: Json) -> None:
        """Serve versions, and only these."""
        values = {"tiny": self.value(*numbers, settings=settings, **wrong)}
        self.shelf.prepare(values)
        self.shelf.commit(values)

    def value(self, *numbers: int, settings: ModelSettings | None = None, **wrong: Json) -> Json:
        """Return versions as changes tell them, some of them changed."""
        versions: dict[str, Json] = {}
        for number in numbers:
            path = self.models / "tiny" / str(number) / "model.onnx"
            versions[str(number)] = {"path": str(path), "digest": read_artifact(path).digest, **wrong}
        return {"settings": (settings or ModelSettings()).write(), "versions": versions} if numbers else None

    def told(self, *numbers: int) -> dict[str, Any]:
        """Return versions as changes tell them."""
        value = self.value(*numbers)
        assert isinstance(value, dict)
        return dict(value)

    def ask(self, *layers: str, version: str = "") -> Answer:
        """Ask for layers through the queue."""
        found = self.repository.find("tiny", version)
        question = self.engine.activations(found, {"": IMAGE}, layers or ("double",), deadline=Deadline(20))
        outcomes: list[Outcome] = []
        done = threading.Event()

        def tell(outcome: Outcome) -> None:
            outcomes.append(outcome)
            done.set()

        self.batcher.submit(question.task, tell)
        assert done.wait(20)
        return question.answer(outcomes[0])


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path)
    server.write(1, factor=1)
    server.write(2, factor=2)
    return server


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Let nothing look for garbage: what is freed is freed at once."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_what_is_served_no_more_is_freed_with_its_last_request(server: Server) -> None:
    server.put(1)
    server.ask("double")
    server.ask("scores", "flat")
    freed = weakref.ref(server.repository.find("tiny"))
    sessions = server.opener.sessions
    server.put(2)
    assert freed() is None
    assert server.ask().version.number == 2
    assert sessions.held_bytes < 2**22  # what the one request since then made


@pytest.mark.usefixtures("no_collection")
def test_a_request_that_has_begun_is_answered_by_the_version_it_began_with(server: Server) -> None:
    server.put(1)
    question = server.engine.activations(server.repository.find("tiny"), {"": IMAGE}, ["double"], deadline=Deadline(20))
    server.put(2)
    answer = question.run()
    assert answer.version.number == 1
    np.testing.assert_array_equal(answer.activations["double"], IMAGE)
    freed = weakref.ref(answer.version)
    assert freed() is not None
    del question, answer
    assert freed() is None


@pytest.mark.usefixtures("no_collection")
def test_a_request_planned_after_its_version_went_leaves_nothing_behind(server: Server) -> None:
    server.put(1)
    version = server.repository.find("tiny")
    server.put(2)
    server.engine.activations(version, {"": IMAGE}, ["double"], deadline=Deadline(20)).run()
    freed = weakref.ref(version)
    del version
    assert freed() is None


def test_the_highest_version_answers_from_the_moment_it_is_there(server: Server) -> None:
    server.put(1)
    assert server.ask().version.number == 1
    server.put(1, 2)
    assert server.ask().version.number == 2
    assert server.ask(version="1").version.number == 1
    np.testing.assert_array_equal(server.ask(version="1").activations["double"], IMAGE)
    np.testing.assert_array_equal(server.ask(version="2").activations["double"], tiny_answer(IMAGE)["double"])


def test_what_stays_is_not_opened_again_and_other_settings_open_it_anew(server: Server) -> None:
    server.put(1)
    first = server.repository.find("tiny")
    server.put(1, 2)
    assert server.repository.find("tiny", "1") is first
    server.put(1, 2, settings=ModelSettings(batch_rows=3))
    assert server.repository.find("tiny", "1") is not first
    assert server.repository.find("tiny", "1").tile_rows == 3


def test_labels_name_versions(server: Server) -> None:
    server.put(1, 2, settings=ModelSettings(labels={"stable": 1, "canary": 2, "old": 7}))
    assert server.ask(version="stable").version.number == 1
    assert server.ask(version="canary").version.number == 2
    with pytest.raises(NotFound, match="unknown version 7, which is the label 'old', of model 'tiny'; served: 1, 2"):
        server.ask(version="old")
    with pytest.raises(NotFound, match="unknown label 'stale'; nearest: 'stable'"):
        server.ask(version="stale")


def test_one_version_that_cannot_be_opened_leaves_all_as_it_was(server: Server) -> None:
    server.put(1)
    with pytest.raises(Unservable, match="version 1: its file has changed since it was tried"):
        server.shelf.prepare({"tiny": server.value(2, 1, settings=ModelSettings(batch_rows=2), digest="other")})
    assert server.ask().version.number == 1
    assert [version.number for version in server.repository.versions] == [1]
    server.put(2)
    assert server.ask().version.number == 2


def test_what_was_prepared_and_abandoned_is_let_go(server: Server) -> None:
    server.put(1)
    values = {"tiny": server.value(2)}
    server.shelf.prepare(values)
    server.shelf.abandon(values)
    assert server.ask().version.number == 1
    assert server.opener.sessions.held_bytes < 2**22


def test_a_model_that_is_served_no_more_is_unknown(server: Server) -> None:
    server.put(1)
    server.put()
    with pytest.raises(NotFound, match="unknown model 'tiny'; there are none"):
        server.repository.find("tiny")


def test_another_label_or_parameter_opens_nothing_anew(server: Server) -> None:
    server.put(1, 2, settings=ModelSettings(labels={"stable": 1}))
    first = server.repository.find("tiny", "stable")
    server.put(1, 2, settings=ModelSettings(labels={"stable": 2, "old": 1}, parameters={"owner": "vision"}))
    assert server.repository.find("tiny", "old") is first
    assert server.repository.find_model("tiny").settings.parameters == {"owner": "vision"}


def test_of_what_cannot_be_opened_no_session_is_left(server: Server, tmp_path: Path) -> None:
    path = write_artifact(tmp_path / "declared", model=tiny_model())
    wrong = ModelSettings(classes=("one", "two"))
    for settings, digest in ((ModelSettings(), "other"), (wrong, "")):
        with pytest.raises(ArtifactError):
            server.opener.open("tiny", 1, path, settings, digest)
    assert not server.opener.sessions.count()


def test_what_was_opened_beside_one_that_cannot_be_is_let_go(server: Server) -> None:
    with pytest.raises(Unservable) as caught:
        server.shelf.prepare({"tiny": {**server.told(1, 2), "versions": {**server.told(1)["versions"], **BROKEN}}})
    assert caught.value.number == 7
    assert not server.opener.sessions.count()


def test_a_process_that_starts_serves_what_it_can_and_knows_what_it_lacks(server: Server) -> None:
    server.shelf.restore("tiny", {**server.told(1), "versions": {**server.told(1)["versions"], **BROKEN}})
    assert server.ask().version.number == 1
    assert server.shelf.lacks
    # What comes later is served, and what is lacking is not asked for again.
    values = {"tiny": {**server.told(1), "versions": {**server.told(1, 2)["versions"], **BROKEN}}}
    server.shelf.prepare(values)
    server.shelf.commit(values)
    assert server.ask().version.number == 2
    assert server.shelf.lacks
    server.put(2)
    assert not server.shelf.lacks


def test_a_late_request_that_is_refused_keeps_no_version(server: Server, no_collection: None) -> None:  # noqa: ARG001
    server.put(1)
    server.ask("scores")
    version = server.repository.find("tiny")
    late = server.engine.activations(version, {"": IMAGE}, ["double"], deadline=Deadline(20))
    server.put(2)
    server.batcher._settings = BatchSettings(queue_rows=1)
    server.batcher._queues["tiny"].rows = 1
    with pytest.raises(Overloaded):
        server.batcher.submit(late.task, lambda _: None)
    freed = weakref.ref(version)
    del version, late
    assert freed() is None
