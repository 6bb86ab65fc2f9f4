"""What a scan may look at: typed hosts, private networks, nothing public by range, never too much."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.errors import UsageError
from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.networks import (
    Interface,
    ScanPlan,
    interfaces_in,
    networks_of,
    own_networks,
    plan_scan,
)
from llama_runner.system.interfaces import InterfaceAddress

SETTINGS = DiscoverySettings(ports=(11434, 8080), connect_timeout_s=0.5)


def test_nothing_named_is_this_machine_on_both_of_its_loopback_addresses() -> None:
    plan = plan_scan(SETTINGS)

    assert plan == ScanPlan(("127.0.0.1", "::1"), (), (11434, 8080), 0.5)
    assert plan.is_this_machine
    assert plan.connects == 4


def test_a_network_gives_its_hosts_and_is_browsed_unless_that_is_declined() -> None:
    plan = plan_scan(SETTINGS, networks=["192.168.1.77/24"], ports=[1, 2, 1])

    assert plan.networks == ("192.168.1.0/24",)
    assert (plan.hosts[0], plan.hosts[-1], len(plan.hosts)) == ("192.168.1.1", "192.168.1.254", 254)
    assert plan.ports == (1, 2)
    assert plan.browse
    assert not plan.is_this_machine
    assert not plan_scan(SETTINGS, networks=["192.168.1.0/24"], browse=False).browse


def test_hosts_alone_are_not_browsed_for_and_come_once_each() -> None:
    plan = plan_scan(SETTINGS, hosts=["Box.lan", "box.lan.", "10.0.0.1"], networks=["10.0.0.0/30"])

    assert plan.hosts == ("box.lan", "10.0.0.1", "10.0.0.2")
    assert not plan_scan(SETTINGS, hosts=["box.lan"]).browse


@pytest.mark.parametrize(
    "network",
    [
        *("127.0.0.0/24", "10.0.0.0/22", "172.16.4.0/23", "172.31.255.0/24", "192.168.0.0/24"),
        *("169.254.7.0/24", "fc00::/120", "fdff::/118", "fe80::/120", "::1/128", "10.0.0.5/32", "10.0.0.4"),
    ],
)
def test_r10_private_networks_are_allowed(network: str) -> None:
    assert plan_scan(SETTINGS, networks=[network]).hosts


@pytest.mark.parametrize(
    "network",
    [
        *("0.0.0.0/0", "10.0.0.0/8", "8.8.8.0/24", "::/0", "192.168.1.5/33", "", " ", "x", "10.0.0.0/"),
        *("8.8.8.8/32", "8.8.8.8", "2001:db8::/120", "::ffff:10.0.0.0/120", "224.0.0.0/24", "172.32.0.0/24"),
        *("192.168.0.0/21", "fd00::/64", "0/0", "192.168.1.1-20", "169.253.0.0/24", "100.64.0.0/24"),
    ],
)
def test_d17_other_networks_are_refused_before_anything_is_sent(network: str) -> None:
    with pytest.raises(UsageError):
        plan_scan(SETTINGS, networks=["192.168.1.0/30", network])


def test_d17_shared_addresses_need_the_setting() -> None:
    allowing = DiscoverySettings(shared_addresses=True)

    assert len(plan_scan(allowing, networks=["100.100.1.0/24"]).hosts) == 254
    with pytest.raises(UsageError, match="shared_addresses"):
        plan_scan(SETTINGS, networks=["100.100.1.0/24"])


def test_more_hosts_than_one_scan_may_have_are_refused_however_they_are_named() -> None:
    many = [f"10.9.{number // 250}.{number % 250 + 1}" for number in range(1025)]

    assert len(plan_scan(SETTINGS, hosts=many[:-1]).hosts) == 1024
    with pytest.raises(UsageError, match="too many"):
        plan_scan(SETTINGS, hosts=many)
    with pytest.raises(UsageError, match="too many"):
        plan_scan(SETTINGS, networks=["10.0.0.0/22", "10.0.8.0/24"])


def test_public_addresses_may_be_typed_one_by_one() -> None:
    assert plan_scan(SETTINGS, hosts=["192.0.2.7", "2001:db8::1"]).hosts == ("192.0.2.7", "2001:db8::1")


@pytest.mark.parametrize("host", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "240.1.2.3", "::", "ff02::1"])
def test_addresses_that_are_no_machine_are_refused(host: str) -> None:
    with pytest.raises(UsageError, match="no machine"):
        plan_scan(SETTINGS, hosts=[host])


@pytest.mark.parametrize(
    "host",
    [
        *("http://evil\\@127.0.0.1", "127.1", "0x7f000001", "2130706433", "::ffff:1.2.3.4", "user@host"),
        *(
            "h#x",
            "",
            "h:99999",
            "h:0",
            "\uff11.0.0.1",
            "h\r\nx",
            "127.0.0.1:8080",
            "[::1]:8080",
            "h:80",
            "a/b",
        ),
    ],
)
def test_d11_hosts_that_can_be_read_in_two_ways_are_refused(host: str) -> None:
    with pytest.raises(UsageError):
        plan_scan(SETTINGS, hosts=[host])


def test_r10_networks_on_the_never_again_list_are_left_out() -> None:
    settings = DiscoverySettings(never_scan=("192.168.1.128/25", "10.0.0.1"))

    plan = plan_scan(settings, networks=["192.168.1.0/24"])
    assert plan.hosts[-1] == "192.168.1.127"
    assert plan.avoided == ("192.168.1.128/25", "10.0.0.1/32")
    with pytest.raises(UsageError, match="never scanned"):
        plan_scan(settings, networks=["192.168.1.192/26"])
    with pytest.raises(UsageError, match="never scanned"):
        plan_scan(settings, hosts=["10.0.0.1"])


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports_that_are_none_are_refused(port: int) -> None:
    with pytest.raises(UsageError):
        plan_scan(SETTINGS, ports=[80, port])
    with pytest.raises(UsageError):
        plan_scan(SETTINGS, ports=[])


@given(st.sampled_from((4, 6)), st.integers(0), st.integers(0, 128))
def test_whatever_network_is_typed_only_private_addresses_are_looked_at(
    version: int, number: int, prefix: int
) -> None:
    bits = 32 if version == 4 else 128
    base = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    try:
        plan = plan_scan(SETTINGS, networks=[f"{base(number % 2**bits)}/{prefix}"])
    except UsageError:
        return
    assert 0 < len(plan.hosts) <= 1024
    assert all(ipaddress.ip_address(host).is_private for host in plan.hosts)


def test_an_interface_offers_its_own_network_and_at_most_a_24_of_it() -> None:
    addresses = (
        InterfaceAddress("lo", "127.0.0.1", 8),
        InterfaceAddress("eth0", "10.20.30.40", 16),
        InterfaceAddress("eth0", "fe80::1", 64),
        InterfaceAddress("eth0", "fd00::2", 64),
        InterfaceAddress("wlan0", "192.168.1.130", 25),
        InterfaceAddress("ppp0", "10.8.0.2", 32),
        InterfaceAddress("wan0", "192.0.2.7", 24),
        InterfaceAddress("tailscale0", "100.101.102.103", 24),
    )

    assert networks_of(addresses) == (
        Interface("eth0", "10.20.30.40", "10.20.30.0/24"),
        Interface("wlan0", "192.168.1.130", "192.168.1.128/25"),
        Interface("tailscale0", "100.101.102.103", "100.101.102.0/24"),
    )


def test_a_network_is_asked_at_once_through_the_interfaces_that_are_in_it() -> None:
    own = (
        InterfaceAddress("lo", "127.0.0.1", 8),
        InterfaceAddress("eth0", "10.20.30.40", 16),
        InterfaceAddress("eth0", "fd00::2", 64),
        InterfaceAddress("wlan0", "192.168.1.130", 24),
    )

    def through(*networks: str) -> tuple[str, ...]:
        return interfaces_in([ipaddress.ip_network(text) for text in networks], own)

    assert through("10.20.77.0/24") == ("10.20.30.40",)
    assert through("192.168.0.0/23", "10.20.30.0/24") == ("10.20.30.40", "192.168.1.130")
    assert through("10.99.0.0/24", "127.0.0.0/24", "fd00::/120") == ()


def test_the_networks_of_this_machine_can_be_planned() -> None:
    allowing = DiscoverySettings(shared_addresses=True)

    for interface in own_networks():
        assert len(plan_scan(allowing, networks=[interface.network]).hosts) <= 254
