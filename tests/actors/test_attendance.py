"""The connections of one user: one per device, the newest attempt wins, so many at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.attendance import DEVICES_REMEMBERED, Attendance
from actors.shapes.ids import LoginId
from actors.shapes.users import Ending
from tests.actors.small_node import Ear

LOGIN, OTHER = LoginId("login-1"), LoginId("login-2")


def ear(id: int, login: LoginId = LOGIN) -> Ear:
    return Ear(id, login)


def ids(attendance: Attendance) -> list[int]:
    return [socket.id for socket in attendance.sockets]


def test_connections_without_a_device_are_independent() -> None:
    attendance, ears = Attendance(), [ear(n) for n in range(3)]
    assert [attendance.join(e, None, 0, 20) for e in ears] == [None] * 3
    assert ids(attendance) == [0, 1, 2]
    assert [e.ended for e in ears] == [[], [], []]


@pytest.mark.parametrize(("second", "stays"), [(6, 2), (5, 1), (4, 1), (0, 1)])
def test_the_highest_attempt_of_a_device_stays(second: int, stays: int) -> None:
    attendance, first, late = Attendance(), ear(1), ear(2)
    attendance.join(first, "phone", 5, 20)
    ending = attendance.join(late, "phone", second, 20)
    assert ids(attendance) == [stays]
    if stays == 2:
        assert (ending, first.ended, late.ended) == (None, [Ending.REPLACED], [])
    else:
        assert (ending, first.ended) == (Ending.REPLACED, [])


def test_the_attempt_outlives_its_connection() -> None:
    """A slow upgrade may arrive after a faster, newer one has come and gone: it must not pass for the newest."""
    attendance = Attendance()
    attendance.join(ear(1), "phone", 5, 20)
    attendance.leave(ear(1).id)
    assert attendance.join(ear(2), "phone", 5, 20) is Ending.REPLACED
    assert attendance.join(ear(3), "phone", 6, 20) is None


def test_a_device_that_does_not_count_is_newer_each_time() -> None:
    attendance, first, second = Attendance(), ear(1), ear(2)
    attendance.join(first, "phone", None, 20)
    assert attendance.join(second, "phone", None, 20) is None
    assert (ids(attendance), first.ended) == ([2], [Ending.REPLACED])
    attendance.join(ear(3), "phone", 50, 20)
    assert attendance.join(ear(4), "phone", None, 20) is None
    assert attendance.join(ear(5), "phone", 51, 20) is Ending.REPLACED, "the uncounted one was the 51st"


def test_a_replacement_is_not_one_too_many() -> None:
    attendance = Attendance()
    attendance.join(ear(1), "phone", 1, 2)
    attendance.join(ear(2), None, 0, 2)
    assert attendance.join(ear(3), None, 0, 2) is Ending.TOO_MANY
    assert attendance.join(ear(4), "tablet", 1, 2) is Ending.TOO_MANY
    assert attendance.join(ear(5), "phone", 2, 2) is None
    assert ids(attendance) == [2, 5]


def test_who_was_one_too_many_may_come_with_the_same_attempt_later() -> None:
    attendance = Attendance()
    attendance.join(ear(1), None, 0, 1)
    assert attendance.join(ear(2), "phone", 7, 1) is Ending.TOO_MANY
    attendance.leave(ear(1).id)
    assert attendance.join(ear(3), "phone", 7, 1) is None


def test_revoked_logins_end_and_others_stay() -> None:
    attendance, ears = Attendance(), [ear(1), ear(2, OTHER), ear(3)]
    for e in ears:
        attendance.join(e, None, 0, 20)
    attendance.end_logins([LOGIN])
    assert [e.ended for e in ears] == [[Ending.REVOKED], [], [Ending.REVOKED]]
    assert ids(attendance) == [2]
    attendance.end_logins([])
    assert ids(attendance) == [2]


def test_all_end_at_once() -> None:
    attendance, ears = Attendance(), [ear(1), ear(2)]
    for e in ears:
        attendance.join(e, None, 0, 20)
    attendance.end_all(Ending.RESYNC)
    assert ([e.ended for e in ears], len(attendance)) == ([[Ending.RESYNC]] * 2, 0)
    attendance.leave(ears[0].id)  # its farewell comes when it is no longer here


def test_what_is_remembered_of_devices_is_bounded_and_forgets_those_who_left_first() -> None:
    attendance = Attendance()
    attendance.join(ear(0), "present", 1, 1_000)
    for n in range(1, 3 * DEVICES_REMEMBERED):
        attendance.join(ear(n), f"device-{n}", 1, 1_000)
        attendance.leave(ear(n).id)
    assert attendance._devices is not None
    assert len(attendance._devices) == DEVICES_REMEMBERED
    assert attendance.join(ear(999), "present", 1, 1_000) is Ending.REPLACED


moves = st.lists(
    st.tuples(st.sampled_from(["join", "leave"]), st.sampled_from(["a", "b", None]), st.integers(0, 5)), max_size=40
)


@given(moves)
def test_whatever_happens_a_device_has_one_connection_and_nobody_is_ended_twice(
    steps: list[tuple[str, str | None, int]],
) -> None:
    attendance = Attendance()
    ears: list[Ear] = []
    device_of: dict[int, str | None] = {}
    for number, (what, device, attempt) in enumerate(steps):
        if what == "leave" and ears:
            attendance.leave(ears[attempt % len(ears)].id)
            continue
        newcomer = ear(number)
        ears.append(newcomer)
        if attendance.join(newcomer, device, attempt, 3) is None:
            device_of[number] = device
        present = [device_of[id] for id in ids(attendance)]
        assert len(present) <= 3
        assert all(present.count(name) <= 1 for name in ("a", "b"))
        assert all(len(e.ended) <= 1 for e in ears)
        assert not any(e.ended for e in ears if e.id in ids(attendance))
