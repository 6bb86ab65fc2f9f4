"""What machines of our own networks say they offer, by mDNS/DNS-SD. Names in answers are untrusted hints.

Only within a scan that a person asked for, only on the interfaces it names, for a bounded time.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf

log = logging.getLogger(__name__)

# Answers come within a second (RFC 6762, 6), and the question is repeated after one more.
BROWSE_S: Final = 2.5
# For one service's address and port, once it is named.
RESOLVE_S: Final = 1.0
# A machine could name services without end.
MAX_SERVICES: Final = 256
# No server announces itself by itself today; these are the types that people and front ends use for them.
MODEL_TYPES: Final = ("_ollama._tcp.local.", "_openai._tcp.local.", "_llm._tcp.local.")
# Printers and routers are of this type too: only those whose name says that they may be meant are asked.
WEB_TYPE: Final = "_http._tcp.local."
_WORDS: Final = (
    *("ollama", "llama", "llm", "lmstudio", "lm-studio", "lm studio", "sglang", "openai"),
    *("localai", "kobold", "lemonade"),
)


@dataclass(frozen=True, slots=True)
class Offer:
    """An address that a machine names as a service: to be looked at like any other, and nothing more."""

    host: str
    port: int


async def browse(
    interfaces: tuple[str, ...], *, seconds: float, on_offer: Callable[[Offer], None]
) -> str | None:
    """Listen for services, telling each as it comes.

    Args:
        interfaces: This machine's own IPv4 addresses, one per network that may be asked; none asks nobody.

    Returns:
        Why it could not be done, one sentence; None when it could.
    """
    if not interfaces:
        return None
    # Imported here and below: it takes a fifth of a second, which only a scan of a network should pay for.
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    try:
        zeroconf = AsyncZeroconf(interfaces=list(interfaces), ip_version=IPVersion.V4Only)
    except OSError as error:
        why = error.strerror or str(error)
        log.warning("mDNS not available interfaces=%s error=%s", ",".join(interfaces), why)
        return f"The networks could not be asked by mDNS: {why}."
    async with zeroconf:
        await _browse(zeroconf.zeroconf, seconds, on_offer)
    return None


async def _browse(zeroconf: "Zeroconf", seconds: float, on_offer: Callable[[Offer], None]) -> None:
    from zeroconf import ServiceStateChange as Change
    from zeroconf.asyncio import AsyncServiceBrowser

    named: set[str] = set()
    async with asyncio.TaskGroup() as group:

        def changed(
            zeroconf: "Zeroconf", service_type: str, name: str, state_change: "ServiceStateChange"
        ) -> None:
            if state_change is Change.Removed or name in named or len(named) >= MAX_SERVICES:
                return
            if may_be_meant(service_type, name):
                named.add(name)
                group.create_task(_resolve(zeroconf, service_type, name, on_offer), name="mDNS service")

        browser = AsyncServiceBrowser(zeroconf, [*MODEL_TYPES, WEB_TYPE], handlers=[changed])
        try:
            # How long to listen: nobody says when everyone has answered.
            await asyncio.sleep(seconds)
        finally:
            await browser.async_cancel()


async def _resolve(
    zeroconf: "Zeroconf", service_type: str, name: str, on_offer: Callable[[Offer], None]
) -> None:
    from zeroconf import Error
    from zeroconf.asyncio import AsyncServiceInfo

    try:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, RESOLVE_S * 1000):
            return
    except Error as error:
        # A name that breaks the rules of names is nobody's server.
        log.debug("mDNS service ignored error=%s", type(error).__name__)
        return
    for address in info.parsed_addresses():
        if info.port and ("%" not in address):
            on_offer(Offer(address, info.port))


def may_be_meant(service_type: str, name: str) -> bool:
    """Whether a service of this type and name could be a model server."""
    instance = name.removesuffix(service_type).lower()
    return service_type in MODEL_TYPES or any(word in instance for word in _WORDS)
