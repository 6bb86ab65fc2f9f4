"""What is kept of a conversation, and what a text has to be to be kept. Values and rules only; no I/O."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Role
from llama_runner.core.jsonio import scrub_text
from llama_runner.core.text import cut
from llama_runner.core.trace import NO_METRICS, RequestMetrics

# B5: ten times the longest context there is; beyond that a text is a file.
MAX_TEXT_CHARS: Final = 10_000_000
# Room for saying how much was cut.
_NOTE_CHARS: Final = 100
# What fits into a line of a side panel twice.
TITLE_CHARS: Final = 80
MAX_TITLE_CHARS: Final = 256
# A conversation is read whole: ten thousand turns are months of talk, and some megabytes.
MAX_TURNS: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Beyond these, moments have no date that could be shown.
_MAX_MS: Final = 253_402_300_799_000
_MIN_MS: Final = -62_135_596_800_000


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """One turn.

    Attributes:
        at: When it was begun; None where an import did not say.
        error: Why the answer ended early, for people.
        label: Who answered, empty for a question.
        images: How many were shown with the question; they themselves are not kept.
    """

    role: Role
    text: str
    at: datetime | None = None
    reasoning: str = ""
    state: AnswerState = AnswerState.DONE
    error: str = ""
    hint: str = ""
    finish_reason: str | None = None
    label: str = ""
    model_id: str = ""
    images: int = 0
    metrics: RequestMetrics = NO_METRICS


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """A conversation with all that is kept of it.

    Attributes:
        origin: The program it was imported from, empty for one of ours.
        imported: When it was last changed there, for an imported one; equal to `updated` until it is
            continued here.
        turns: Oldest first.
        earlier: How many turns before them are kept and were not read.
    """

    id: str
    title: str
    created: datetime
    updated: datetime
    turns: tuple[KeptTurn, ...]
    system_prompt: str = ""
    origin: str = ""
    imported: datetime | None = None
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation in a list.

    Attributes:
        model: The model that answered last, None when none did.
        messages: How many turns it has.
        excerpt: Where a searched text was found, empty in a list.
    """

    id: str
    title: str
    created: datetime
    updated: datetime
    model: str | None
    messages: int
    origin: str
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, last changed first.

    Attributes:
        complete: Everything that fits is there; otherwise there is more than was asked for, or the time
            that a person waits was over before the oldest messages were looked at.
    """

    conversations: tuple[Summary, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Added:
    """What became of imported conversations.

    Attributes:
        replaced: They had changed where they came from since the last import, and not here.
        known: They are here already, and were left as they are.
        messages: How many messages the new and the replaced ones have.
    """

    new: int = 0
    replaced: int = 0
    known: int = 0
    messages: int = 0


def storable(text: str) -> str:
    """`text` as it can be kept: no lone surrogates or control characters, cut where no person reads on."""
    if len(text) > MAX_TEXT_CHARS:
        kept = MAX_TEXT_CHARS - _NOTE_CHARS
        text = f"{text[:kept]}\n[{len(text) - kept} more characters were not kept]"
    return scrub_text(text)


def title_of_text(text: str) -> str:
    """The title that a conversation gets from its first question: its first line; empty without one."""
    lines = text.strip().splitlines()
    return cut(lines[0].strip(), TITLE_CHARS) if lines else ""


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, as kept."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """That moment in UTC; the nearest one that has a date (B7)."""
    return _EPOCH + timedelta(milliseconds=max(_MIN_MS, min(_MAX_MS, milliseconds)))
