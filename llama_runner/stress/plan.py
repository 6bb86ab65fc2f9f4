"""What a load test is to do, whether it may, and how it is divided among workers. Pure."""

import random
from dataclasses import dataclass
from typing import Final

from llama_runner.backends.base import Target
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions
from llama_runner.core.errors import UsageError
from llama_runner.net.addresses import is_loopback

# More at once than any single person's chat, so that a slip of the finger does not flatten a machine (U18).
CONFIRM_ABOVE_CONCURRENCY: Final = 64
DEFAULT_MAX_CONCURRENCY: Final = 256
# A run is held in memory whole, some kilobytes per request.
MAX_REQUESTS: Final = 100_000
# A prompt of a million characters fills the longest context lengths there are.
MAX_PROMPT_CHARS: Final = 1_000_000
# All requests are encoded before the run: what they may take together.
MAX_PLAN_BYTES: Final = 512 * 1024 * 1024

# One process keeps this many streams with a loop lag under 5 ms. Up to half of it there is never a second
# process: one clock, and one core taken from a server on the same machine.
STREAMS_PER_WORKER: Final = 128
SINGLE_WORKER_CONCURRENCY: Final = 64
MAX_WORKERS: Final = 16

MARKER_HEX_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class BurstPlan:
    """A closed loop: `concurrency` requests in flight until `total_requests` were sent.

    Attributes:
        prompt: Every request asks this, behind a marker of its own that keeps caches out of the figures.
        request_timeout_s: A request that takes longer counts as failed.
        ignore_eos: Let every answer reach `max_tokens`, where the server can.
        seed: Fixes the markers; None draws one, which the report names.
        confirmed_remote: A person agreed to load a machine that is not this one.
        confirmed_many: A person agreed to more than 64 requests at once.
    """

    target: Target
    prompt: str
    concurrency: int = 4
    total_requests: int = 32
    max_tokens: int = 128
    request_timeout_s: float = 600.0
    temperature: float | None = None
    ignore_eos: bool = False
    seed: int | None = None
    confirmed_remote: bool = False
    confirmed_many: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part: how many requests it keeps in flight, and which ones it sends in what order."""

    worker: int
    concurrency: int
    indices: tuple[int, ...]


def check_plan(plan: BurstPlan, *, max_concurrency: int = DEFAULT_MAX_CONCURRENCY) -> None:
    """Raise UsageError unless the plan can and may be carried out."""
    _within("concurrency", plan.concurrency, max_concurrency)
    _within("number of requests", plan.total_requests, MAX_REQUESTS)
    _within("number of tokens per answer", plan.max_tokens, 1_000_000)
    if not 0 < plan.request_timeout_s <= 86_400:
        raise UsageError("The request timeout is not possible.", "Choose between 1 second and 1 day.")
    if not plan.prompt.strip():
        raise UsageError("The prompt is empty.", "Write what every request is to ask.")
    if len(plan.prompt) > MAX_PROMPT_CHARS:
        raise UsageError("The prompt is too long.", f"Keep it under {MAX_PROMPT_CHARS:,} characters.")
    if plan.total_requests * len(plan.prompt.encode("utf-8", "replace")) > MAX_PLAN_BYTES:
        raise UsageError("All prompts together are too large.", "Send fewer requests, or shorten the prompt.")
    _check_consent(plan)


def _within(what: str, value: int, highest: int) -> None:
    if not 1 <= value <= highest:
        raise UsageError(f"A {what} of {value:,} is not possible.", f"Choose between 1 and {highest:,}.")


def _check_consent(plan: BurstPlan) -> None:
    url = plan.target.endpoint.base_url
    if plan.concurrency > CONFIRM_ABOVE_CONCURRENCY and not plan.confirmed_many:
        raise UsageError(
            f"More than {CONFIRM_ABOVE_CONCURRENCY} requests at once ({plan.concurrency}) need your consent.",
            "Confirm it in the window, or add --yes.",
        )
    if not is_loopback(url) and not plan.confirmed_remote:
        raise UsageError(
            f"{url} is not this machine: {plan.total_requests:,} requests, {plan.concurrency} at a time, "
            "would load a computer that others may be using.",
            "Confirm it in the window, or add --yes.",
        )


def marker(seed: int, index: int) -> str:
    """The first characters of request `index`: no two requests of a run, nor of two seeds, begin alike."""
    return f"{random.Random(f'{seed}/{index}').getrandbits(4 * MARKER_HEX_DIGITS):0{MARKER_HEX_DIGITS}x}"


def request_of(plan: BurstPlan, seed: int, index: int) -> ChatRequest:
    """Request `index` of the plan.

    The marker stands first: a prefix cache compares from the start, so one at the end would change nothing.
    """
    return ChatRequest(
        model_id=plan.target.model_id,
        messages=(Message(Role.USER, f"[{marker(seed, index)}] {plan.prompt}"),),
        options=SamplingOptions(
            temperature=plan.temperature,
            max_tokens=plan.max_tokens,
            ignore_eos=True if plan.ignore_eos else None,
            cache_prompt=False,
        ),
    )


def worker_count(concurrency: int, cpus: int) -> int:
    """Processes that share the load: one up to 64 streams, then each below 128, two cores left free."""
    if concurrency <= SINGLE_WORKER_CONCURRENCY:
        return 1
    wanted = -(-concurrency // STREAMS_PER_WORKER)
    return min(wanted, max(1, cpus - 2), MAX_WORKERS)


def shares(concurrency: int, total_requests: int, workers: int) -> tuple[Share, ...]:
    """Divide requests and concurrency as evenly as possible; request i goes to worker i modulo their number.

    A worker never has more streams than requests, and no share is empty.
    """
    concurrency = min(concurrency, total_requests)
    workers = min(workers, concurrency)
    return tuple(
        Share(
            worker=worker,
            concurrency=concurrency // workers + (worker < concurrency % workers),
            indices=tuple(range(worker, total_requests, workers)),
        )
        for worker in range(workers)
    )
