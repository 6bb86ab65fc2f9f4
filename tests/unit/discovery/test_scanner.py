"""Which host-port pairs are looked at, in which order and how fast."""

import bisect

from hypothesis import example, given
from hypothesis import strategies as st

from llama_runner.discovery.scanner import Address, addresses_of
from llama_runner.net.connect import Pace

SECOND_NS = 10**9


def test_every_pair_comes_once_the_likeliest_port_of_all_hosts_first() -> None:
    hosts = (("127.0.0.1", "127.0.0.1"), ("box.lan", "127.0.0.2"))

    assert tuple(addresses_of(hosts, (1, 2))) == (
        Address("127.0.0.1", 1, "127.0.0.1"),
        Address("box.lan", 1, "127.0.0.2"),
        Address("127.0.0.1", 2, "127.0.0.1"),
        Address("box.lan", 2, "127.0.0.2"),
    )


def test_an_ipv6_host_gets_its_brackets() -> None:
    (address,) = addresses_of((("::1", "::1"),), (8080,))

    assert address.base_url == "http://[::1]:8080"


@example([0] * 3000)
@example([SECOND_NS] * 60 + [0] * 3000)
@given(st.lists(st.integers(0, SECOND_NS), min_size=1, max_size=3000))
def test_r10_no_second_has_more_connects_than_allowed(gaps_ns: list[int]) -> None:
    """Whenever connects are wished for: all at once, after a pause, or steadily."""
    pace, now_ns, begun = Pace(), 0, list[float]()
    for gap_ns in gaps_ns:
        now_ns += gap_ns // 700
        begun.append(now_ns + pace.reserve(now_ns) * 1e9)
    begun.sort()
    for place, start in enumerate(begun):
        assert bisect.bisect_right(begun, start + SECOND_NS) - place <= 600


def test_a_few_connects_wait_for_nothing_and_many_keep_a_good_pace() -> None:
    pace = Pace()
    waits = [pace.reserve(0) for _ in range(2032)]

    assert waits[:40] == [0.0] * 40
    assert 3.3 < waits[-1] < 4.0
