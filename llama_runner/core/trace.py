"""What one request looked like on the wire, and the metrics that follow from it.

Every stamp is monotonic nanoseconds of one clock. Metrics are computed here, once, and nowhere else;
definitions are in `core.metrics`, which names these functions.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TokensSource(StrEnum):
    """Where an output-token count came from, best first. Never mixed inside one comparison."""

    CHUNK_USAGE = "chunk_usage"
    USAGE = "usage"
    SERVER_TOKENIZER = "server_tok"
    LOCAL_TOKENIZER = "local_tok"
    CHUNKS = "chunks"


class TokenKind(StrEnum):
    """What a token-bearing event carried."""

    TEXT = "text"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"


@dataclass(frozen=True, slots=True)
class TokenStamp:
    """One token-bearing event.

    Attributes:
        t_ns: When its bytes were read.
        kind: What it carried.
        cumulative_tokens: Output tokens so far by the server's own count, None when it sends none.
    """

    t_ns: int
    kind: TokenKind
    cumulative_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reported them; None where it did not."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """The server's own clock for one request; None where it does not say.

    Attributes:
        prompt_tokens: Prompt tokens it processed (without cached ones).
        prompt_s: Seconds it spent on them.
        output_tokens: Tokens it generated.
        output_s: Seconds it spent generating them.
    """

    prompt_tokens: int | None = None
    prompt_s: float | None = None
    output_tokens: int | None = None
    output_s: float | None = None


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """One request, finished or cut.

    Attributes:
        t_send_ns: First header byte written.
        stamps: Token-bearing events in order of arrival.
        t_end_ns: The stream closed, None when it was never opened.
        t_sched_ns: Planned arrival in an open loop, None in a closed one.
        usage: Counts the server reported, None when it sent none.
        server_timings: The server's own durations, None when it sent none.
    """

    t_send_ns: int
    stamps: tuple[TokenStamp, ...] = ()
    t_end_ns: int | None = None
    t_sched_ns: int | None = None
    usage: Usage | None = None
    server_timings: ServerTimings | None = None


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """The figures of one request; None where unknown. Field names are the names in JSON."""

    ttft_s: float | None = None
    ttfat_s: float | None = None
    e2e_s: float | None = None
    tpot_s: float | None = None
    decode_tps: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    tokens_source: TokensSource | None = None


# Below this many decode steps a mean gap says more about chance than about the server.
MIN_DECODE_TOKENS: Final = 4

NO_METRICS: Final = RequestMetrics()


def _since_send(trace: RequestTrace, stamp: TokenStamp | None) -> float | None:
    return None if stamp is None else (stamp.t_ns - trace.t_send_ns) / 1e9


def ttft_s(trace: RequestTrace) -> float | None:
    """Seconds from the first request byte to the first token of any kind, reasoning included."""
    return _since_send(trace, trace.stamps[0] if trace.stamps else None)


def ttfat_s(trace: RequestTrace) -> float | None:
    """Seconds from the first request byte to the first token that is not reasoning."""
    return _since_send(trace, next((s for s in trace.stamps if s.kind is not TokenKind.REASONING), None))


def e2e_s(trace: RequestTrace) -> float | None:
    """Seconds from the first request byte to the last token-bearing event."""
    return _since_send(trace, trace.stamps[-1] if trace.stamps else None)


def output_tokens(trace: RequestTrace) -> tuple[int, TokensSource] | tuple[None, None]:
    """Output tokens, reasoning included, with where the count came from.

    Returns:
        The final count of the server's per-event counts, else of its usage, else the number of
        token-bearing events (labelled as chunks: a chunk is not a token). (None, None) when nothing came.
    """
    counted = [s.cumulative_tokens for s in trace.stamps if s.cumulative_tokens is not None]
    usage = trace.usage.output_tokens if trace.usage else None
    if counted:
        # The final usage may count an end token that no event carried; events only bound it from below.
        return (
            usage if usage is not None and usage >= counted[-1] else counted[-1]
        ), TokensSource.CHUNK_USAGE
    if usage is not None:
        return usage, TokensSource.USAGE
    if trace.stamps:
        return len(trace.stamps), TokensSource.CHUNKS
    return None, None


def has_hidden_reasoning(trace: RequestTrace) -> bool:
    """Whether the server counted reasoning tokens that it never streamed: decode speed would be inflated."""
    counted = trace.usage.reasoning_tokens if trace.usage else None
    return bool(counted) and all(s.kind is not TokenKind.REASONING for s in trace.stamps)


def tpot_s(trace: RequestTrace) -> float | None:
    """Mean time per output token after the first event, in seconds.

    Returns:
        (t_last - t_first) / (N - n1) with N the output tokens and n1 those of the first event (1 when the
        server does not count per event); None with fewer than `MIN_DECODE_TOKENS` tokens after the first
        event, when all tokens came in one event, or when reasoning tokens were counted but not streamed.

    Source: AIPerf's ITL; vLLM's TPOT divides by N - 1; GuideLLM's TPOT includes TTFT.
    """
    n, _ = output_tokens(trace)
    if n is None or not trace.stamps or has_hidden_reasoning(trace):
        return None
    first, last = trace.stamps[0], trace.stamps[-1]
    n_first = first.cumulative_tokens if first.cumulative_tokens is not None else 1
    if n - n_first < MIN_DECODE_TOKENS or last.t_ns <= first.t_ns:
        return None
    return (last.t_ns - first.t_ns) / 1e9 / (n - n_first)


def request_metrics(trace: RequestTrace) -> RequestMetrics:
    """All figures of one request."""
    tokens, source = output_tokens(trace)
    tpot = tpot_s(trace)
    usage = trace.usage or Usage()
    return RequestMetrics(
        ttft_s=ttft_s(trace),
        ttfat_s=ttfat_s(trace),
        e2e_s=e2e_s(trace),
        tpot_s=tpot,
        decode_tps=None if tpot is None else 1 / tpot,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=tokens,
        reasoning_tokens=usage.reasoning_tokens,
        tokens_source=source,
    )
