"""Where the proxy may listen."""

import pytest

from llama_runner.core.errors import ConfigError
from llama_runner.core.settings import ProxySettings
from llama_runner.service.addresses import NOWHERE, ProxyAddresses, check_given, wanted, why_not

OPEN = ["0.0.0.0", "::", "192.168.1.5", "8.8.8.8", "fd00::1"]
HERE = ["127.0.0.1", "127.0.0.9", "::1", "localhost"]


def refusal(host: str, *, ask: bool = False, token: bool = False, root: bool = False) -> str:
    error = why_not(host, always_ask_token=ask, has_token=token, as_root=root)
    return str(error or "")


@pytest.mark.parametrize("host", OPEN)
def test_i8_c6_beyond_this_machine_takes_a_token(host: str) -> None:
    assert "without an access token" in refusal(host)
    assert "access-token new" in refusal(host)
    assert refusal(host, token=True) == ""
    with pytest.raises(ConfigError):
        check_given(ProxyAddresses(ollama=(host, 0)), has_token=False, as_root=False)
    check_given(ProxyAddresses(ollama=(host, 0)), has_token=True, as_root=False)


@pytest.mark.parametrize("host", OPEN)
def test_a8_with_all_rights_listeners_stay_on_this_machine_token_or_not(host: str) -> None:
    assert "as root" in refusal(host, token=True, root=True)


@pytest.mark.parametrize("host", HERE)
def test_on_this_machine_a_token_is_wanted_only_when_a_person_wants_it(host: str) -> None:
    assert refusal(host, root=True) == ""
    assert "without an access token" in refusal(host, ask=True)
    assert refusal(host, ask=True, token=True) == ""


@pytest.mark.parametrize(
    "host", ["", "myhost", "example.org", "127.1", "::1%lo", "::ffff:8.8.8.8", "x" * 999]
)
def test_c6_names_and_odd_forms_are_listened_on_by_nobody(host: str) -> None:
    said = refusal(host, token=True)
    assert "not opened" in said and "an IP address" in said
    assert len(said) < 400


def test_the_command_line_wins_over_the_settings_and_switches_nothing_off() -> None:
    settings = ProxySettings(
        openai_enabled=True, openai_port=1, ollama_enabled=True, ollama_port=2, host="::1"
    )
    assert wanted(settings, NOWHERE).addresses == ProxyAddresses(("::1", 1), ("::1", 2))
    given = ProxyAddresses(openai=("127.0.0.1", 9))
    assert wanted(settings, given).addresses == ProxyAddresses(("127.0.0.1", 9), ("::1", 2))
    assert wanted(ProxySettings(), NOWHERE).addresses == NOWHERE


def test_a_token_of_the_command_line_is_asked_for_everywhere() -> None:
    assert not wanted(ProxySettings(), NOWHERE).always_ask_token
    assert wanted(ProxySettings(), NOWHERE, token_given=True).always_ask_token
    assert wanted(ProxySettings(always_ask_token=True), NOWHERE).always_ask_token
