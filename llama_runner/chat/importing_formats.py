"""The programs whose conversations are known, in the order in which they are tried."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llama_runner.chat import importing_chatgpt, importing_lm_studio, importing_open_webui, importing_ours
from llama_runner.chat.history_values import KeptConversation
from llama_runner.chat.importing_parts import Object, Remarks, Unusable
from llama_runner.core.jsonio import JsonValue


@dataclass(frozen=True, slots=True)
class Format:
    """One program's conversations.

    Attributes:
        fits: Whether an object looks like one of them.
        read: The conversation in it. Raises Unusable.
    """

    name: str
    fits: Callable[[Object], bool]
    read: Callable[[Object, Remarks], KeptConversation]


FORMATS: Final = (
    Format("Llama Runner", importing_ours.fits, importing_ours.read),
    Format(importing_chatgpt.NAME, importing_chatgpt.fits, importing_chatgpt.read),
    Format(importing_open_webui.NAME, importing_open_webui.fits, importing_open_webui.read),
    Format(importing_lm_studio.NAME, importing_lm_studio.fits, importing_lm_studio.read),
)


def conversation_of(found: JsonValue, remarks: Remarks) -> KeptConversation:
    """The conversation in an object of any known program. Raises Unusable."""
    if isinstance(found, dict):
        for known in FORMATS:
            if known.fits(found):
                return known.read(found, remarks)
    raise Unusable("without a conversation that this program knows")
