"""What is asked on a stream, without the stream."""

import pytest
from strata.v1.inference_pb2 import StreamRequest, StreamResponse
from strata_client._course import Course
from strata_client.errors import DeadlineExceeded, InvalidArgument, NotFound, StrataError, Unavailable

AGAIN_S = 2.0


def read(response: StreamResponse) -> str:
    if response.HasField("error"):
        raise (Unavailable if response.error.code else NotFound)(response.error.message)
    return response.id


def repeat(error: StrataError, sent: int) -> float | None:
    return AGAIN_S * sent if isinstance(error, Unavailable) and sent < 3 else None


def write(text: str) -> StreamRequest:
    if text == "no file":
        raise NotFound(text)
    return StreamRequest()


def begin(window: int = 10) -> Course[str, str]:
    return Course(write, read, repeat, window, timeout_s=30)


def ask(course: Course[str, str], count: int, now: float = 0) -> list[StreamRequest]:
    for _ in range(count):
        course.offer("one", now)
    return course.take_due(now)


def ids(requests: list[StreamRequest]) -> list[str]:
    return [request.id for request in requests]


def refusal(request: StreamRequest, code: int = 14) -> StreamResponse:
    return StreamResponse(id=request.id, error={"code": code, "message": "why"})


def drain(course: Course[str, str]) -> list[str]:
    given = []
    while course.is_ready:
        outcome = course.give()
        given.append(outcome if isinstance(outcome, str) else type(outcome).__name__)
    return given


def test_outcomes_are_given_in_the_order_of_the_requests_whatever_comes_first() -> None:
    course = begin()
    for request in reversed(ask(course, 3)):
        assert not course.is_ready
        course.receive(StreamResponse(id=request.id), 1)
    assert drain(course) == ["0", "1", "2"]
    rest = [course.is_done]
    course.end()
    assert [*rest, course.is_done] == [False, True]


def test_a_window_has_room_again_when_an_outcome_was_given_not_when_it_came() -> None:
    course = begin(window=2)
    first, _ = ask(course, 2)
    course.receive(StreamResponse(id=first.id), 1)
    rooms = [course.wants_more]
    course.give()
    assert [*rooms, course.wants_more] == [False, True]
    with pytest.raises(InvalidArgument, match="window: expected 1 or more; received 0"):
        begin(window=0)


def test_an_error_stands_in_the_place_of_its_answer() -> None:
    course = begin()
    first, second = ask(course, 2)
    course.offer("no file", 0)
    course.receive(refusal(first, code=0), 1)
    course.receive(StreamResponse(id=second.id), 1)
    assert drain(course) == ["NotFound", "1", "NotFound"]


def test_what_may_be_repeated_is_sent_again_after_its_wait_a_number_of_times() -> None:
    course = begin()
    (request,) = ask(course, 1)
    now = 0.0
    for sent in (1, 2):
        course.receive(refusal(request), now)
        assert course.wait_s(now) == AGAIN_S * sent
        assert ids(course.take_due(now + AGAIN_S * sent - 0.1)) == []
        now += AGAIN_S * sent
        assert ids(course.take_due(now)) == ["0"]
    course.receive(refusal(request), now)
    assert drain(course) == ["Unavailable"]


def test_a_lost_call_sends_again_what_was_on_its_way_and_holds_back_what_is_new() -> None:
    course = begin()
    first, *_ = ask(course, 3)
    course.receive(StreamResponse(id=first.id), 1)
    course.lose(Unavailable("gone"), 1)
    assert ask(course, 1, now=1) == []
    assert course.wait_s(1) == AGAIN_S
    for number in ("1", "2", "3"):  # one goes alone at first
        assert ids(course.take_due(1 + AGAIN_S)) == [number]
        course.receive(StreamResponse(id=number), 1 + AGAIN_S)
    assert drain(course) == ["0", "1", "2", "3"]


def test_a_server_without_room_gets_half_as_many_at_a_time_and_slowly_more_again() -> None:
    course = begin(window=4)
    refused, *others = ask(course, 4)
    course.receive(refusal(refused), 0)
    for request in others:
        course.receive(StreamResponse(id=request.id), 0)
    course.take_due(AGAIN_S)
    course.receive(StreamResponse(id=refused.id), AGAIN_S)
    assert drain(course) == ["0", "1", "2", "3"]
    counts = []
    for _ in range(20):
        sent = ask(course, 4, now=AGAIN_S)
        counts.append(len(sent))
        while sent:
            for request in sent:
                course.receive(StreamResponse(id=request.id), AGAIN_S)
            sent = course.take_due(AGAIN_S)
        drain(course)
    assert (counts[0], counts[-1]) == (2, 4)
    assert counts == sorted(counts)


def test_what_breaks_every_call_is_sent_alone_and_breaks_no_other_request() -> None:
    course = begin()
    ask(course, 3)
    course.lose(Unavailable("broken"), 0)
    for now in (2, 6):
        assert ids(course.take_due(now)) == ["0"]
        course.lose(Unavailable("broken"), now)
    assert drain(course) == ["Unavailable"]
    assert ids(course.take_due(6)) == ["1"]
    course.receive(StreamResponse(id="1"), 7)
    assert ids(course.take_due(7)) == ["2"]


def test_a_lost_call_that_cannot_be_repeated_is_the_outcome_of_what_was_on_its_way() -> None:
    course = begin()
    ask(course, 2)
    course.lose(NotFound("gone"), 1)
    assert drain(course) == ["NotFound", "NotFound"]
    assert ids(ask(course, 1, now=1)) == ["2"]


def test_a_request_has_the_time_that_is_left_and_is_given_up_when_it_is_over() -> None:
    course = begin()
    (request,) = ask(course, 1, now=100)
    assert request.timeout_us == 30_000_000
    course.receive(refusal(request), 110)
    (request,) = course.take_due(112)
    assert request.timeout_us == 18_000_000
    assert course.wait_s(112) == 18
    assert course.take_due(130) == []
    outcome = course.give()
    assert isinstance(outcome, DeadlineExceeded)
    assert str(outcome) == "no answer within 30 s"
    course.receive(StreamResponse(id="0"), 131)  # too late
    assert not course.is_waiting


def test_a_call_on_which_nothing_comes_is_left_and_what_is_not_late_goes_again() -> None:
    course = begin()
    ask(course, 2, now=100)
    ask(course, 1, now=120)
    assert course.leave(129) is None
    assert isinstance(course.leave(130), DeadlineExceeded)
    assert drain(course) == ["DeadlineExceeded", "DeadlineExceeded"]
    assert ids(course.take_due(130 + AGAIN_S)) == ["2"]
    assert course.leave(150) is None  # late as well, but the other call has had less time
    ask(course, 1, now=151)
    assert isinstance(course.leave(181), DeadlineExceeded)


def test_a_call_on_which_anything_comes_is_kept_when_one_request_is_late() -> None:
    course = begin()
    _, second = ask(course, 2, now=100)
    course.receive(StreamResponse(id=second.id), 101)
    assert course.leave(130) is None
    assert course.take_due(130) == []
    assert drain(course) == ["DeadlineExceeded", "1"]


def test_what_would_be_repeated_too_late_is_told_at_once() -> None:
    course = begin()
    (request,) = ask(course, 1)
    course.receive(refusal(request), 29)
    assert drain(course) == ["Unavailable"]


def test_an_error_of_the_inputs_is_raised_when_all_before_it_was_given() -> None:
    course = begin()
    (request,) = ask(course, 1)
    course.end(OSError("no disk"))
    assert not course.wants_more
    course.receive(StreamResponse(id=request.id), 1)
    assert drain(course) == ["0"]
    with pytest.raises(OSError, match="no disk"):
        course.finish()
