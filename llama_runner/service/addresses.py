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


def wanted_addresses(settings: ProxySettings, given: ProxyAddresses) -> ProxyAddresses:
    """What the command line says, else the settings. Raises ConfigError for a host that is not loopback."""
    openai = given.openai or ((LOOPBACK, settings.openai_port) if settings.openai_enabled else None)
    ollama = given.ollama or ((LOOPBACK, settings.ollama_port) if settings.ollama_enabled else None)
    for address in (openai, ollama):
        if address is not None:
            check_loopback("The proxy", address[0])
    return ProxyAddresses(openai, ollama)


NOWHERE: Final = ProxyAddresses()
