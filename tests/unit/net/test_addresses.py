"""What a typed server address means (D11)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.errors import UsageError
from llama_runner.net.addresses import (
    host_of,
    is_loopback,
    parse_server_url,
    port_of,
    scope_of,
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("  http://127.0.0.1:8080/ ", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost"),
        ("HTTPS://Api.Example.COM./v1/", "https://api.example.com"),
        ("http://box:11434/api", "http://box:11434"),
        ("http://[::1]:1234", "http://[::1]:1234"),
        ("http://[2001:DB8:0:0::1]", "http://[2001:db8::1]"),
        ("[fe80::1]:80", "http://[fe80::1]:80"),
        ("my_box.local:1", "http://my_box.local:1"),
        ("h:65535", "http://h:65535"),
    ],
)
def test_a_plain_address_becomes_its_base(typed: str, meant: str) -> None:
    assert parse_server_url(typed) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "http://",
        "http://:80",
        ":80",
        "http://evil\\@127.0.0.1",
        "http://127.1",
        "http://0x7f000001",
        "0x7f.0.0.1",
        "2130706433",
        "http://0177.0.0.1",
        "http://127.0.0.1.:80",
        "[::ffff:1.2.3.4]",
        "http://[fe80::1%25eth0]",
        "http://[::1",
        "http://[zz]:80",
        "h:99999",
        "h:0",
        "h:",
        "h:+80",
        "h:8 0",
        "h:80:90",
        "h:٣",
        "http://user:secret@host",
        "http://user@host:80",
        "http://host/#x",
        "http://host?x",
        "http://host#",
        "http://host/some/path",
        "http://１２７.0.0.1",
        "http://ho\u202est",
        "http://host\r\nHost: evil",
        "http://ho\tst",
        "file:///etc/passwd",
        "ftp://host",
        "javascript://host",
        "http://-bad-.com",
        "http://a..b",
        "http://" + "a" * 64 + ".com",
        "http://" + "a." * 150 + "com",
        "http://h/" + "v" * 3000,
        "http://h%2f",
    ],
)
def test_whatever_can_be_read_in_two_ways_is_refused_with_a_reason(typed: str) -> None:
    """D11."""
    with pytest.raises(UsageError) as caught:
        parse_server_url(typed)
    assert caught.value.message
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_either_refused_or_stable(text: str) -> None:
    try:
        url = parse_server_url(text)
    except UsageError:
        return
    assert parse_server_url(url) == url
    assert 1 <= port_of(url) <= 65535


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:80", True),
        ("http://localhost:80", True),
        ("http://a.localhost", True),
        ("http://0.0.0.0:80", True),
        ("http://192.168.1.4", False),
        ("http://10.0.0.1", False),
        ("http://172.31.0.1", False),
        ("http://172.32.0.1", False),
        ("http://[fe80::1]", False),
        ("http://box", False),
        ("http://box.local", False),
        ("http://8.8.8.8", False),
        ("https://api.example.com", False),
        ("https://notlocalhost.example", False),
        ("http://[2001:db8::1]", False),
    ],
)
def test_whether_an_address_is_this_machine(url: str, loopback: bool) -> None:
    assert is_loopback(url) == loopback


def test_parts_of_a_base_url() -> None:
    assert (host_of("http://[::1]:80"), port_of("http://h"), port_of("https://h")) == ("::1", 80, 443)


def test_a_mapped_address_is_as_near_as_the_one_inside() -> None:
    assert scope_of("::ffff:127.0.0.1") == "loopback"
    assert scope_of("::ffff:8.8.8.8") == "public"
