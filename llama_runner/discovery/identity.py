"""Is it still the server that was here before? Rules without I/O (safety R11, D13).

Over plain HTTP a server proves nothing about itself, so these are signs and no proof: another program,
another machine, none of the models of before. A change is told to the person, and keys wait for their yes.
"""

from collections.abc import Iterable
from typing import Final

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ModelInfo
from llama_runner.discovery.registry import ServerRecord, ServerStatus
from llama_runner.net.addresses import port_of

# Names that fit many programs: a better one later is no change.
_NO_NAMES: Final = frozenset({"", str(Engine.OPENAI), str(Engine.UNKNOWN)})


def other_program(known: ServerRecord, product: str) -> str:
    """Why another program seems to answer than before, one sentence; empty when none does."""
    if known.product in _NO_NAMES or product == known.product:
        return ""
    return f"It was {known.product} and now answers as {product}."


def other_machine(known: ServerRecord, mac: str | None) -> str:
    """Why another machine seems to have its address, one sentence; empty when none does, or nobody knows.

    This is what DHCP leaves behind when it gives a server's address to somebody else.
    """
    if known.mac is None or mac is None or mac == known.mac:
        return ""
    return f"Another machine answers at this address: its hardware address was {known.mac} and is {mac}."


def other_models(known: ServerRecord, models: tuple[ModelInfo, ...]) -> str:
    """Why its models speak for another server, one sentence; empty when they don't.

    People pull and delete models every day, and on their own machine they start servers with other models
    all the time: only another machine that has none of what it had is worth a word.
    """
    before = {model.id for model in known.models}
    now = {model.id for model in models}
    if known.is_this_machine or not before or not now or before & now:
        return ""
    return "It offers none of the models that it offered before."


def moved_from(known: Iterable[ServerRecord], found: ServerRecord, mac: str | None) -> str:
    """Why a server that was just found may be a known one at a new address, one sentence; else empty."""
    for record in known:
        same_place = record.id == found.id or port_of(record.base_url) != port_of(found.base_url)
        if mac is None or same_place or record.mac != mac or record.status is ServerStatus.ONLINE:
            continue
        return f"It has the hardware address of {record.address}: that server may have moved here."
    return ""
