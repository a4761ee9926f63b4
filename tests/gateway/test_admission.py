"""The books: caps, the shedding of silent strangers, the rate of handshakes."""

import dataclasses

import msgspec
import pytest

from realtime.gateway.admission import Admission, TokenBucket
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.descriptors import ReserveDescriptor, raise_descriptor_limit
from realtime.gateway.options import GatewayOptions


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass(eq=False)
class Stranger:
    arrived_at: float
    was_shed: bool = False

    def shed(self) -> None:
        self.was_shed = True


def books(most: int = 100, **changes: float) -> tuple[Admission, GatewayCounters, Clock]:
    clock, counters = Clock(), GatewayCounters()
    options = msgspec.structs.replace(GatewayOptions(), **changes)
    return Admission(options, counters, clock, most), counters, clock


def test_the_total_is_a_wall() -> None:
    admission, counters, clock = books(most=3)
    strangers = [Stranger(clock()) for _ in range(4)]
    assert [admission.arrive(stranger) for stranger in strangers] == [True, True, True, False]
    assert admission.full
    admission.known(strangers[0])
    admission.leave()
    assert admission.arrive(strangers[3])
    assert counters.connections == 3


def test_the_oldest_stranger_makes_room() -> None:
    admission, counters, clock = books(max_unauthenticated=3)
    strangers = []
    for _ in range(3):
        strangers.append(Stranger(clock()))
        assert admission.arrive(strangers[-1])
        clock.now += 1.0
    newcomer = Stranger(clock())
    assert admission.arrive(newcomer)
    assert [stranger.was_shed for stranger in strangers] == [True, False, False]
    assert counters.unauthenticated == 3


def test_the_young_are_not_shed() -> None:
    """Else a flood would also throw out everybody who is just about to say hello."""
    admission, _, clock = books(max_unauthenticated=2)
    first, second = Stranger(clock()), Stranger(clock())
    assert admission.arrive(first)
    assert admission.arrive(second)
    clock.now += 0.5
    assert not admission.arrive(Stranger(clock()))
    assert not first.was_shed


def test_who_said_hello_is_no_stranger() -> None:
    admission, counters, clock = books(max_unauthenticated=1)
    first = Stranger(clock())
    admission.arrive(first)
    admission.known(first)
    admission.known(first)
    assert counters.unauthenticated == 0
    clock.now += 5
    assert admission.arrive(Stranger(clock()))
    assert not first.was_shed


def test_an_address_has_its_share() -> None:
    admission, _, _ = books(max_connections_per_address=2)
    keys = [admission.claim_address(f"2001:db8::{number}") for number in range(3)]
    assert keys == ["2001:db8::/64", "2001:db8::/64", None]
    assert admission.claim_address("192.0.2.1") == "192.0.2.1"
    admission.leave_address("2001:db8::/64")
    assert admission.claim_address("2001:db8::9") is not None
    for key in ("2001:db8::/64", "2001:db8::/64", "192.0.2.1"):
        admission.leave_address(key)
    assert not admission._by_address, "addresses that left take no memory"


def test_no_cap_on_addresses_by_default() -> None:
    admission, _, _ = books()
    assert [admission.claim_address("192.0.2.1") for _ in range(1_000)] == [""] * 1_000


def test_handshakes_have_a_rate() -> None:
    admission, _, clock = books(handshakes_per_second=10.0, handshake_burst=5.0)
    assert [admission.handshake() for _ in range(5)] == [0.0] * 5
    assert admission.handshake() == pytest.approx(0.1)
    clock.now += 0.1
    assert admission.handshake() == 0.0
    clock.now += 100
    assert [admission.handshake() > 0 for _ in range(6)] == [False] * 5 + [True]


def test_a_bucket_never_overflows() -> None:
    bucket = TokenBucket(1.0, 2.0, 0.0)
    assert [bucket.take(1e6) for _ in range(2)] == [0.0, 0.0]
    assert bucket.take(1e6) == pytest.approx(1.0)


def test_http_has_its_share() -> None:
    admission, counters, _ = books(max_http_connections=1)
    assert admission.enter_http()
    assert not admission.enter_http()
    admission.leave_http()
    assert admission.enter_http()
    assert counters.http_connections == 1


def test_the_reserve_can_be_given_up_once() -> None:
    reserve = ReserveDescriptor()
    assert reserve.give_up()
    assert not reserve.give_up()
    reserve.take_back()
    assert reserve.close()


def test_the_soft_limit_is_the_hard_one() -> None:
    resource = pytest.importorskip("resource")
    most = raise_descriptor_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == soft
    assert soft == hard or hard == resource.RLIM_INFINITY
