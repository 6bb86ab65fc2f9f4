"""Asking one address what it is: read-only GETs of known paths, no key, bounded in time and size."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import httpx

from llama_runner.core.clock import Clock
from llama_runner.core.errors import ProtocolError, ServerError
from llama_runner.discovery.answers import ProbeAnswer
from llama_runner.discovery.fingerprint import NotAServer, Verdict, next_paths, verdict
from llama_runner.discovery.products import MODELS
from llama_runner.net.connect import ConnectBudget
from llama_runner.net.errors import NOT_HTTP, asks_for_tls
from llama_runner.net.fetch import INLINE_BYTES, Reply, fetch

# A probe keeps no connection open: a scan would end with hundreds of them.
_HEADERS: Final = {"Connection": "close"}


@dataclass(frozen=True, slots=True)
class Probed:
    """What an address turned out to be.

    Attributes:
        latency_s: Of the quickest answer, None when there was none.
        answered: Whether any HTTP answer came.
        may_want_tls: The other side did not keep silent and did not speak HTTP, or said that it wants it.
    """

    verdict: Verdict
    latency_s: float | None
    answered: bool
    may_want_tls: bool = False


async def probe(
    http: httpx.AsyncClient,
    base_url: str,
    *,
    timeout_s: float,
    clock: Clock,
    budget: ConnectBudget | None = None,
) -> Probed:
    """Ask until the rules are sure. Never raises for what the other side does.

    Args:
        timeout_s: For each answer; all of them together get twice that (D1, D2).
        budget: Of the scan that asks, None outside of one.
    """
    answers: dict[str, ProbeAnswer] = {}
    latencies: list[float] = []
    odd: list[ServerError] = []

    async def ask(path: str) -> None:
        room = budget.request() if budget is not None else nullcontext()
        try:
            async with room:
                reply = await fetch(http, base_url + path, headers=_HEADERS, timeout_s=timeout_s, clock=clock)
        except ServerError as error:
            answers[path] = ProbeAnswer(failure=_failure(error, timeout_s))
            if _is_no_http(error):
                odd.append(error)
            return
        headers = {name.lower(): value for name, value in reply.headers.items()}
        answers[path] = await _answer(reply, headers)
        latencies.append(reply.elapsed_s)

    try:
        async with asyncio.timeout(2 * timeout_s):
            while paths := next_paths(answers):
                async with asyncio.TaskGroup() as group:
                    for path in paths:
                        group.create_task(ask(path), name=f"probe {path}")
    except TimeoutError:
        # What came until now may be enough to name it.
        answers.setdefault(MODELS, ProbeAnswer(failure=_no_answer(timeout_s)))
    answered = any(answer.status is not None for answer in answers.values())
    result = verdict(answers)
    if isinstance(result, NotAServer) and not answered:
        result = NotAServer(next((a.failure for a in answers.values() if a.failure), _no_answer(timeout_s)))
    unclear = (bool(odd) and not answered) or any(map(_asks_for_tls, answers.values()))
    may_want_tls = isinstance(result, NotAServer) and base_url.startswith("http://") and unclear
    return Probed(result, min(latencies, default=None), answered, may_want_tls)


async def _answer(reply: Reply, headers: dict[str, str]) -> ProbeAnswer:
    if len(reply.body) <= INLINE_BYTES:
        return ProbeAnswer(reply.status, headers, reply.body)
    return await asyncio.to_thread(ProbeAnswer, reply.status, headers, reply.body)


def _asks_for_tls(answer: ProbeAnswer) -> bool:
    return answer.status is not None and asks_for_tls(answer.status, answer.body)


def _is_no_http(error: ServerError) -> bool:
    """Whether the other side did something, and it was not HTTP."""
    if isinstance(error, ProtocolError):
        return error.what == NOT_HTTP
    return not isinstance(error.__cause__, TimeoutError)


def _failure(error: ServerError, timeout_s: float) -> str:
    if isinstance(error, ProtocolError):
        return f"Not an LLM server: {error.what}."
    return _no_answer(timeout_s) if isinstance(error.__cause__, TimeoutError) else error.message


def _no_answer(timeout_s: float) -> str:
    return f"No answer within {timeout_s:g} s."
