"""Ollama's way with a conversation that is too long: its oldest messages are left out, and that is told.

Its clients count on it: few of them know how long a context is, and none shortens what it sends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llama_runner.backends.values import as_count
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.net.errors import error_fields

# Of the context, for what is read; the answer needs the rest.
PROMPT_SHARE: Final = 0.75
# Of the text, where the engine does not say how long it was.
BLIND_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat that may be shortened.

    Attributes:
        body: The request to the engine.
        left_out: How many of its messages are missing already.
    """

    body: Mapping[str, JsonValue]
    left_out: int = 0

    def shortened(self, share: float) -> "Conversation | None":
        """With about that share of its text at most; None when nothing more can be left out.

        System messages and the last message stay. The result of a tool goes with the call that it answers.
        """
        messages = self.body.get("messages")
        if not isinstance(messages, list):
            return None
        kept = _without_oldest(messages, share)
        gone = len(messages) - len(kept)
        return Conversation({**self.body, "messages": kept}, self.left_out + gone) if gone else None

    def told(self) -> str:
        """For a person, and for the client's header."""
        what = "oldest message was" if self.left_out == 1 else f"{self.left_out} oldest messages were"
        return f"the {what} left out: the conversation does not fit the context"


def share_that_fits(error_body: bytes) -> float:
    """How much of a prompt to keep, by what llama-server says of one that was too long."""
    said = error_fields(error_body)
    tokens, context = as_count(said.get("n_prompt_tokens")), as_count(said.get("n_ctx"))
    return PROMPT_SHARE * min(context / tokens, 1.0) if tokens and context else BLIND_SHARE


def _without_oldest(messages: Sequence[JsonValue], share: float) -> list[JsonValue]:
    sizes = [len(dump_json(message)) for message in messages]
    too_many = sum(sizes) * (1 - share)
    gone: set[int] = set()
    for place, message in enumerate(messages[:-1]):
        is_answer = _role(message) == "tool" and place - 1 in gone
        if _role(message) != "system" and (too_many > 0 or is_answer):
            gone.add(place)
            too_many -= sizes[place]
    return [message for place, message in enumerate(messages) if place not in gone]


def _role(message: JsonValue) -> JsonValue:
    return message.get("role") if isinstance(message, dict) else None
