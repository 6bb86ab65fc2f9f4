"""Where the proxy listens: wanted, allowed, and got."""

from dataclasses import dataclass
from typing import Final

from llama_runner.core.errors import ConfigError
from llama_runner.core.fields import BadText, check_listen_host
from llama_runner.core.settings import ProxySettings
from llama_runner.service.listener import is_loopback_host

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ProxyAddresses:
    """Where each dialect is to listen; None for not at all."""

    openai: Address | None = None
    ollama: Address | None = None


@dataclass(frozen=True, slots=True)
class ProxyUrls:
    """Where each dialect listens; None where it does not."""

    openai: str | None = None
    ollama: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the proxy is to listen.

    Attributes:
        origins: Of web pages that may call.
        host_names: That programs may call it by, beyond its addresses.
        always_ask_token: Of programs of this machine too.
    """

    addresses: ProxyAddresses
    origins: frozenset[str] = frozenset()
    host_names: tuple[str, ...] = ()
    always_ask_token: bool = False


@dataclass(frozen=True, slots=True)
class Listening:
    """What became of one dialect.

    Attributes:
        port: Where it is to listen; None when it is switched off.
        url: Where it listens, for programs of this machine; None when it does not.
        problem: Why it does not although it is to, or not where it is to, and what to do; empty when nothing
            is wrong.
        fixed: The command line said where; the settings do not count.
        needs_token: Programs have to send the access token.
        open_to_others: Other machines reach it.
    """

    port: int | None = None
    url: str | None = None
    problem: str = ""
    fixed: bool = False
    needs_token: bool = False
    open_to_others: bool = False


def wanted(settings: ProxySettings, given: ProxyAddresses, *, token_given: bool = False) -> Wanted:
    """What the command line says, else the settings.

    Args:
        token_given: The command line said which token to ask for: then it is asked for everywhere.
    """
    openai = given.openai or ((settings.host, settings.openai_port) if settings.openai_enabled else None)
    ollama = given.ollama or ((settings.host, settings.ollama_port) if settings.ollama_enabled else None)
    return Wanted(
        ProxyAddresses(openai, ollama),
        frozenset(settings.origins),
        settings.host_names,
        settings.always_ask_token or token_given,
    )


def why_not(host: str, *, always_ask_token: bool, has_token: bool, as_root: bool) -> ConfigError | None:
    """Why a listener is not opened there; None when it may be.

    Beyond this machine: not without a token (I8, C6), and never with all rights (A8).
    """
    try:
        check_listen_host(host)
    except BadText as error:
        return ConfigError(f"The proxy is not opened on {host[:100]!r}.", f"Give {error}.")
    others = not is_loopback_host(host)
    if others and as_root:
        return ConfigError(
            f"The proxy is not opened on {host[:100]} as root: other machines come in there.",
            "Start the service as an ordinary user, or use 127.0.0.1.",
        )
    if (others or always_ask_token) and not has_token:
        who = "other machines come in there" if others else "programs are to be asked for it"
        return ConfigError(
            f"The proxy is not opened on {host[:100]} without an access token: {who}.",
            "Make one with `llama-runner access-token new`, or use 127.0.0.1.",
        )
    return None


def check_given(given: ProxyAddresses, *, has_token: bool, as_root: bool) -> None:
    """Raise ConfigError when the command line says to listen where it may not be."""
    for address in (given.openai, given.ollama):
        if address is not None and (
            error := why_not(address[0], always_ask_token=False, has_token=has_token, as_root=as_root)
        ):
            raise error


NOWHERE: Final = ProxyAddresses()
NOT_WANTED: Final = Listening()
