"""Taking the control port."""

import contextlib
import os
import socket

import pytest

from llama_runner.core.errors import ConfigError, PortInUseError, UsageError
from llama_runner.net.listen import parse_listen, port_of_socket
from llama_runner.service.listener import (
    allowed_hosts,
    busy_sentence,
    check_loopback,
    claim_control_port,
    url_host,
    urls_for_others,
)
from llama_runner.system.identity import ListenerInfo


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_addresses_of_this_machine_are_allowed(host: str) -> None:
    check_loopback("The control API", host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "192.168.1.5",
        "8.8.8.8",
        "example.org",
        "",
        "127.1",
        "::1%lo",
        "::ffff:8.8.8.8",
        "a" * 999,
    ],
)
def test_every_other_address_is_refused(host: str) -> None:
    """C6: there is no way to open the control API to others."""
    with pytest.raises(ConfigError, match="not opened") as caught:
        check_loopback("The control API", host)
    assert "127.0.0.1" in caught.value.hint
    assert len(caught.value.message) < 300


def test_a_busy_port_names_the_program_that_has_it() -> None:
    """F12."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"Port {port} is in use by \S+.*pid {os.getpid()}"):
            claim_control_port("127.0.0.1", port, fall_back=False)


def test_a_fallback_takes_a_free_port_and_says_so() -> None:
    """F12."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener, notice = claim_control_port("127.0.0.1", port, fall_back=True)
        with contextlib.closing(listener):
            assert port_of_socket(listener) not in (0, port)
            assert notice is not None
            assert f"Port {port} is in use" in notice


def test_a_claimed_port_is_busy_for_the_next_one_before_it_is_served() -> None:
    listener, notice = claim_control_port("127.0.0.1", 0, fall_back=False)
    with contextlib.closing(listener):
        assert notice is None
        with pytest.raises(PortInUseError):
            claim_control_port("127.0.0.1", port_of_socket(listener), fall_back=False)


def test_the_sentence_says_no_more_than_the_system_tells() -> None:
    assert busy_sentence(1234, ListenerInfo(4711, "LM Studio")) == (
        "Port 1234 is in use by LM Studio (pid 4711)."
    )
    assert busy_sentence(1234, None) == "Port 1234 is in use by another program."
    assert busy_sentence(1234, ListenerInfo(None, None)) == "Port 1234 is in use by another program."


def test_hosts_are_exact_names_with_the_port() -> None:
    assert allowed_hosts("127.0.0.1", 81) == {"127.0.0.1:81", "localhost:81", "[::1]:81"}
    assert allowed_hosts("0.0.0.0", 81) == allowed_hosts("127.0.0.1", 81)
    assert "localhost" in allowed_hosts("127.0.0.1", 80)
    assert "127.0.0.9:81" in allowed_hosts("127.0.0.9", 81)
    added = allowed_hosts("127.0.0.1", 81, ("Box", "10.0.0.7", "nat:8080")) - allowed_hosts("127.0.0.1", 81)
    assert added == {"box:81", "10.0.0.7:81", "nat:8080"}


def test_urls_are_such_as_work_on_this_machine() -> None:
    hosts = ("localhost", "::1", "127.0.0.9", "0.0.0.0", "::", "10.0.0.7")
    assert [url_host(host) for host in hosts] == [
        "127.0.0.1",
        "[::1]",
        "127.0.0.9",
        "127.0.0.1",
        "[::1]",
        "10.0.0.7",
    ]


def test_other_machines_are_told_addresses_that_they_can_reach() -> None:
    assert urls_for_others("10.0.0.7", 81) == ("http://10.0.0.7:81",)
    assert urls_for_others("fd00::7", 81) == ("http://[fd00::7]:81",)
    for url in (*urls_for_others("0.0.0.0", 81), *urls_for_others("::", 81)):
        assert "127.0.0" not in url and "[::1]" not in url and "fe80" not in url and url.endswith(":81")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8035", ("127.0.0.1", 8035)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_host_and_port_are_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "8035", ":8035", "127.0.0.1", "127.0.0.1:", "h:65536", "h:-1", "h:1.5", "h:٣", "::1:80", "h:x"],
)
def test_anything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_listen(text)
