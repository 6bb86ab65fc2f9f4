"""What travels through the control API about profiles, engines and what instances are doing."""

from collections.abc import Mapping
from dataclasses import dataclass

from llama_runner.control.values import EngineInfo
from llama_runner.core.load_options import LoadOptions


@dataclass(frozen=True, slots=True)
class ProfileList:
    """What a person wrote down about loading one model.

    Attributes:
        default: The profile that counts when none is named; None for none.
        parameters: Options of every load; a profile counts before them.
    """

    model: str
    default: str | None
    profiles: Mapping[str, LoadOptions]
    parameters: LoadOptions


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: the options that it chooses."""

    options: LoadOptions


@dataclass(frozen=True, slots=True)
class DefaultWish:
    """Body of a change of the default profile; None for none."""

    profile: str | None


@dataclass(frozen=True, slots=True)
class EngineList:
    """Every engine there is to choose from, the usual one first."""

    engines: tuple[EngineInfo, ...]


@dataclass(frozen=True, slots=True)
class InstanceActivity:
    """What an instance is doing now; None where its engine does not tell.

    Attributes:
        slots: Requests it can work on at the same time.
        slot_context: Tokens that each of them may have.
        working: Requests it works on.
        waiting: Requests that wait for a slot of the engine.
        prompt_tokens: Read since it was loaded, without those it had kept; `prompt_s` is the time of it.
        output_tokens: Written since it was loaded, in `output_s`. Two answers tell the speed in between.
        prompt_tps: Mean speed of reading since it was loaded.
        decode_tps: Mean speed of writing since it was loaded, all requests together.
        drafted_tokens: Guessed ahead since it was loaded; of them `accepted_tokens` were right.
    """

    id: str
    model: str
    slots: int | None = None
    slot_context: int | None = None
    working: int | None = None
    waiting: int | None = None
    prompt_tokens: int | None = None
    prompt_s: float | None = None
    output_tokens: int | None = None
    output_s: float | None = None
    prompt_tps: float | None = None
    decode_tps: float | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
