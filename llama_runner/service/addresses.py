"""Where the proxy listens: wanted, and got."""

from dataclasses import dataclass
from typing import Final

from llama_runner.core.settings import ProxySettings
from llama_runner.service.listener import check_loopback

LOOPBACK: Final = "127.0.0.1"
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
class Listening:
    """What became of one dialect.

    Attributes:
        port: Where it is to listen; None when it is switched off.
        url: Where it listens; None when it does not.
        problem: Why it does not although it is to, and what to do; empty when nothing is wrong.
        fixed: The command line said where; the settings do not count.
    """

    port: int | None = None
    url: str | None = None
    problem: str = ""
    fixed: bool = False


def wanted_addresses(settings: ProxySettings, given: ProxyAddresses) -> ProxyAddresses:
    """What the command line says, else the settings. Raises ConfigError for a host that is not loopback."""
    openai = given.openai or ((LOOPBACK, settings.openai_port) if settings.openai_enabled else None)
    ollama = given.ollama or ((LOOPBACK, settings.ollama_port) if settings.ollama_enabled else None)
    for address in (openai, ollama):
        if address is not None:
            check_loopback("The proxy", address[0])
    return ProxyAddresses(openai, ollama)


NOWHERE: Final = ProxyAddresses()
NOT_WANTED: Final = Listening()
