"""What a serving engine is doing, asked only when somebody wants to know. Counts and speeds, never texts."""

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx

from llama_runner.core.errors import ServerError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.fetch import fetch

_TIMEOUT_S: Final = 2.0
_MAX_BYTES: Final = 1024 * 1024
_PREFIX: Final = "llamacpp:"


@dataclass(frozen=True, slots=True)
class Activity:
    """One engine at one moment; None where it does not tell.

    Attributes:
        slots: Requests it can work on at the same time.
        slot_context: Tokens that each of them may have.
        working: Requests it works on.
        waiting: Requests that wait for a slot.
        prompt_tokens: Read since it was started, without those it had kept; in `prompt_s` seconds.
        output_tokens: Written since it was started, in `output_s` seconds.
        drafted_tokens: Guessed ahead since it was started; of them `accepted_tokens` were right.
    """

    slots: int | None = None
    slot_context: int | None = None
    working: int | None = None
    waiting: int | None = None
    prompt_tokens: int | None = None
    prompt_s: float | None = None
    output_tokens: int | None = None
    output_s: float | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None

    @property
    def prompt_tps(self) -> float | None:
        """Mean speed of reading, in tokens per second of work."""
        return _speed(self.prompt_tokens, self.prompt_s)

    @property
    def decode_tps(self) -> float | None:
        """Mean speed of writing, all requests together, in tokens per second of work."""
        return _speed(self.output_tokens, self.output_s)


async def read_activity(http: httpx.AsyncClient, url: str, api_key: str) -> Activity:
    """Ask an engine; what it does not answer in time stays unknown."""
    metrics, props = await asyncio.gather(
        _get(http, f"{url}/metrics", api_key), _get(http, f"{url}/props", api_key)
    )
    figures = parse_figures((metrics or b"").decode("utf-8", errors="replace"))
    slots, context = parse_slots(props)
    return Activity(
        slots=slots,
        slot_context=context,
        working=_count(figures.get("requests_processing")),
        waiting=_count(figures.get("requests_deferred")),
        prompt_tokens=_count(figures.get("prompt_tokens_total")),
        prompt_s=figures.get("prompt_seconds_total"),
        output_tokens=_count(figures.get("tokens_predicted_total")),
        output_s=figures.get("tokens_predicted_seconds_total"),
        drafted_tokens=_count(figures.get("spec_decode_num_draft_tokens_total")),
        accepted_tokens=_count(figures.get("spec_decode_num_accepted_tokens_total")),
    )


async def _get(http: httpx.AsyncClient, url: str, api_key: str) -> bytes | None:
    headers = {"Authorization": f"Bearer {api_key}"}
    try:
        reply = await fetch(http, url, headers=headers, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES)
    except ServerError:
        return None
    return reply.body if reply.status == 200 else None


def parse_figures(text: str) -> dict[str, float]:
    """Names and values of an engine's `/metrics`; lines that are none are left out."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.strip().rpartition(" ")
        if not name.startswith(_PREFIX):
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        # NaN and infinity are no counts; older builds wrote them before the first token.
        if 0 <= number < 2**63:
            found[name.removeprefix(_PREFIX)] = number
    return found


def parse_slots(props: bytes | None) -> tuple[int | None, int | None]:
    """Number of slots and the context of each, from `/props`."""
    if props is None:
        return None, None
    try:
        document: JsonValue = parse_json(props, max_bytes=_MAX_BYTES)
    except JsonRejected:
        return None, None
    if not isinstance(document, dict):
        return None, None
    settings = document.get("default_generation_settings")
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    return _whole(document.get("total_slots")), _whole(context)


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)


def _speed(tokens: int | None, spent_s: float | None) -> float | None:
    return tokens / spent_s if tokens is not None and spent_s else None
