"""What the readers of other programs' conversations share. Pure.

Believes nothing: parents may lead in circles, dates may be nonsense, anything may be missing (C12, B7).
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from llama_runner.backends.request import Role
from llama_runner.chat.history_values import (
    MAX_TURNS,
    KeptConversation,
    KeptTurn,
    from_ms,
    storable,
    title_of_text,
)
from llama_runner.core.jsonio import JsonValue

Object = Mapping[str, JsonValue]

# One name for all ids that are made from those of other programs: the same again at the next import.
_NAMESPACE: Final = uuid.UUID("6f7f3a5e-5b0c-4d43-9d3f-0c8f7a1f2b11")
# Numbers from here on are milliseconds: as seconds they would be in the year 5138.
_MS_FROM: Final = 100_000_000_000


# What is no message of a person or a model.
TOOLS: Final = "messages of tools and of the program itself"


class Unusable(ValueError):
    """Not a conversation that can be kept; the text says why, in a few words that follow a number."""


@dataclass(slots=True)
class Remarks:
    """What was left out of the conversations that were read, by reason."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, number: int = 1) -> None:
        """Count it."""
        if number:
            self.counts[reason] = self.counts.get(reason, 0) + number


def object_of(value: JsonValue) -> Object:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: JsonValue) -> list[JsonValue]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: JsonValue) -> str:
    """The value when it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def moment_of(value: JsonValue) -> datetime | None:
    """Seconds or milliseconds since 1970, or ISO 8601; None for anything else."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        return found.astimezone(UTC) if found.tzinfo and 1 < found.year < 9999 else found.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return from_ms(round(value if abs(value) >= _MS_FROM else value * 1000))


def id_for(origin: str, their_id: str) -> str:
    """Our id for a conversation that another program calls `their_id`."""
    return uuid.uuid5(_NAMESPACE, f"{origin}:{their_id}").hex


def kept_from(
    origin: str,
    their_id: str,
    title: str,
    turns: Iterable[KeptTurn],
    remarks: Remarks,
    *,
    created: datetime | None,
    updated: datetime | None,
    system_prompt: str = "",
) -> KeptConversation:
    """The parts as a conversation. Raises Unusable when nothing was said in it."""
    merged = _alternating(turns)
    if not merged:
        raise Unusable("without any text")
    if (cut := len(merged) - MAX_TURNS) > 0:
        remarks.add("messages before the newest 10,000 of a conversation", cut)
    dates = [turn.at for turn in merged if turn.at is not None]
    begun = created or min(dates, default=None) or from_ms(0)
    changed = updated or max(dates, default=None) or begun
    return KeptConversation(
        id=id_for(origin, their_id or fingerprint(merged, begun)),
        title=title_of_text(title) or title_of_text(merged[0].text),
        created=begun,
        updated=changed,
        turns=tuple(merged[-MAX_TURNS:]),
        system_prompt=system_prompt,
        origin=origin,
        imported=changed,
    )


def fingerprint(turns: list[KeptTurn], created: datetime) -> str:
    """Tells a conversation without an id from others, also when it has grown."""
    return hashlib.sha256(f"{created.isoformat()} {storable(turns[0].text)}".encode()).hexdigest()


def _alternating(turns: Iterable[KeptTurn]) -> list[KeptTurn]:
    """Question and answer in turn, as models want them: what one side said in a row is one turn."""
    found: list[KeptTurn] = []
    for turn in turns:
        if not turn.text and not turn.reasoning and not turn.images:
            continue
        if found and found[-1].role is turn.role:
            last = found.pop()
            turn = KeptTurn(
                turn.role,
                "\n\n".join(filter(None, (last.text, turn.text))),
                last.at or turn.at,
                "\n\n".join(filter(None, (last.reasoning, turn.reasoning))),
                label=turn.label or last.label,
                model_id=turn.model_id or last.model_id,
                images=last.images + turn.images,
            )
        found.append(turn)
    return found


def upwards(
    nodes: Object, leaf: str, parent_of: Callable[[Object], JsonValue], remarks: Remarks
) -> list[Object]:
    """The nodes from the first one down to `leaf`; a circle of parents is cut where it closes (C12)."""
    seen: set[str] = set()
    path: list[Object] = []
    at: JsonValue = leaf
    while isinstance(at, str) and isinstance(node := nodes.get(at), dict):
        if at in seen:
            remarks.add("circles of messages that answer each other, cut")
            break
        seen.add(at)
        path.append(node)
        at = parent_of(node)
    else:
        if isinstance(at, str) and at:
            remarks.add("messages whose predecessor is missing, begun there")
    path.reverse()
    return path


def leaf_of(nodes: Object, named: JsonValue, parent_of: Callable[[Object], JsonValue]) -> str:
    """Where the talk ended: the node that is named, else the last one that nobody answers, else the last."""
    if isinstance(named, str) and named in nodes:
        return named
    answered = {
        parent_of(object_of(node)) for node in nodes.values() if isinstance(parent_of(object_of(node)), str)
    }
    unanswered = [name for name in nodes if name not in answered]
    return (unanswered or list(nodes))[-1] if nodes else ""


def role_of(name: JsonValue) -> Role | None:
    """Who speaks; None for tools and programs."""
    return {"user": Role.USER, "human": Role.USER, "assistant": Role.ASSISTANT}.get(text_of(name))
