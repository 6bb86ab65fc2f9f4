"""Which host-port pairs are looked at, and in which order."""

from llama_runner.discovery.scanner import Address, addresses_of


def test_every_pair_comes_once_the_likeliest_port_of_all_hosts_first() -> None:
    assert addresses_of(("127.0.0.1", "127.0.0.2"), (1, 2)) == (
        Address("127.0.0.1", 1),
        Address("127.0.0.2", 1),
        Address("127.0.0.1", 2),
        Address("127.0.0.2", 2),
    )


def test_an_ipv6_host_gets_its_brackets() -> None:
    (address,) = addresses_of(("::1",), (8080,))

    assert address.base_url == "http://[::1]:8080"
