"""What one request looked like on the wire, and the metrics that follow from it.

Every stamp is monotonic nanoseconds of one clock. Metrics are computed here, once, and nowhere else;
definitions are in `core.metrics`, which names these functions.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from llama_runner.core.records import record


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


@record
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
        tokenized: Output tokens as the server's tokenizer counted the text afterwards, None when not asked.
    """

    t_send_ns: int
    stamps: tuple[TokenStamp, ...] = ()
    t_end_ns: int | None = None
    t_sched_ns: int | None = None
    usage: Usage | None = None
    server_timings: ServerTimings | None = None
    tokenized: int | None = None


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
# A gap is a stall when a reader notices it: longer than this, and well beyond the usual gap of its stream.
STALL_FLOOR_S: Final = 0.25
STALL_FACTOR: Final = 5

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
        The final count of the server's per-event counts, else of its usage, else of its tokenizer, else the
        number of token-bearing events (labelled as chunks: a chunk is not a token). (None, None) when nothing
        came.
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
    if trace.stamps and trace.tokenized is not None:
        return trace.tokenized, TokensSource.SERVER_TOKENIZER
    if trace.stamps:
        return len(trace.stamps), TokensSource.CHUNKS
    return None, None


def has_hidden_reasoning(trace: RequestTrace) -> bool:
    """Whether the server counted reasoning tokens that it never streamed: decode speed would be inflated."""
    counted = trace.usage.reasoning_tokens if trace.usage else None
    return bool(counted) and all(s.kind is not TokenKind.REASONING for s in trace.stamps)


def decode_steps(trace: RequestTrace) -> int | None:
    """Tokens between the first and the last token-bearing event: N - n1.

    Where the server counts per event, the last event's count stands for N: the final usage may include an end
    token that no event carried, and no time passed for it here. Where it does not, n1 is taken as 1.

    Returns:
        None with fewer than `MIN_DECODE_TOKENS`, when all tokens came at once, or when reasoning tokens were
        counted but not streamed.
    """
    n, _ = output_tokens(trace)
    if n is None or not trace.stamps or has_hidden_reasoning(trace):
        return None
    first, last = trace.stamps[0], trace.stamps[-1]
    if first.cumulative_tokens is not None and last.cumulative_tokens is not None:
        steps = last.cumulative_tokens - first.cumulative_tokens
    else:
        steps = n - (first.cumulative_tokens or 1)
    return steps if steps >= MIN_DECODE_TOKENS and last.t_ns > first.t_ns else None


def tpot_s(trace: RequestTrace) -> float | None:
    """Mean time per output token after the first event, in seconds.

    Returns:
        (t_last - t_first) / (N - n1), None where `decode_steps` is.

    Source: AIPerf's ITL; vLLM's TPOT divides by N - 1; GuideLLM's TPOT includes TTFT.
    """
    steps = decode_steps(trace)
    return None if steps is None else (trace.stamps[-1].t_ns - trace.stamps[0].t_ns) / 1e9 / steps


def decode_tps_pooled(traces: Iterable[RequestTrace]) -> float | None:
    """Decode steps per second over all requests together; None when no request has a decode speed."""
    steps, spent_ns = 0, 0
    for trace in traces:
        if (counted := decode_steps(trace)) is not None:
            steps += counted
            spent_ns += trace.stamps[-1].t_ns - trace.stamps[0].t_ns
    return steps / (spent_ns / 1e9) if steps else None


def e2e_tps(trace: RequestTrace) -> float | None:
    """Output tokens per second of total time; None without tokens."""
    n, _ = output_tokens(trace)
    total_s = e2e_s(trace)
    return n / total_s if n and total_s else None


def queue_delay_s(trace: RequestTrace) -> float | None:
    """Seconds from the planned arrival to the first request byte; None in a closed loop."""
    return None if trace.t_sched_ns is None else (trace.t_send_ns - trace.t_sched_ns) / 1e9


def ttft_user_s(trace: RequestTrace) -> float | None:
    """Seconds from the planned arrival to the first token; None in a closed loop."""
    return _sum(queue_delay_s(trace), ttft_s(trace))


def e2e_user_s(trace: RequestTrace) -> float | None:
    """Seconds from the planned arrival to the last token; None in a closed loop."""
    return _sum(queue_delay_s(trace), e2e_s(trace))


def tail_s(trace: RequestTrace) -> float | None:
    """Seconds from the last token to the end of the stream."""
    if trace.t_end_ns is None or not trace.stamps:
        return None
    return (trace.t_end_ns - trace.stamps[-1].t_ns) / 1e9


def inter_chunk_s(trace: RequestTrace) -> tuple[float, ...]:
    """Gaps between neighbouring token-bearing events, in seconds: one fewer than there are events."""
    return tuple((later.t_ns - earlier.t_ns) / 1e9 for earlier, later in pairwise(trace.stamps))


def inter_token_s(trace: RequestTrace) -> tuple[tuple[float, int], ...]:
    """Per gap: seconds per token, and how many tokens its later event brought (the weight).

    Returns:
        Only gaps whose two events the server counted and between which the count grew.
    """
    gaps: list[tuple[float, int]] = []
    for earlier, later in pairwise(trace.stamps):
        if earlier.cumulative_tokens is None or later.cumulative_tokens is None:
            continue
        if (n := later.cumulative_tokens - earlier.cumulative_tokens) > 0:
            gaps.append(((later.t_ns - earlier.t_ns) / 1e9 / n, n))
    return tuple(gaps)


def stall_max_s(trace: RequestTrace) -> float | None:
    """The longest gap between two token-bearing events; None with fewer than two."""
    return max(inter_chunk_s(trace), default=None)


def stalls(trace: RequestTrace) -> int | None:
    """How many gaps a reader notices; None with fewer than two events."""
    gaps = inter_chunk_s(trace)
    if not gaps:
        return None
    limit_s = max(STALL_FLOOR_S, STALL_FACTOR * statistics.median(gaps))
    return sum(gap > limit_s for gap in gaps)


def prefill_tps(trace: RequestTrace) -> float | None:
    """Prompt tokens processed per second by the server's own clock; None when it does not say."""
    timings = trace.server_timings
    if timings is None or not timings.prompt_tokens or not timings.prompt_s:
        return None
    return timings.prompt_tokens / timings.prompt_s


def cache_hit(traces: Iterable[RequestTrace]) -> float | None:
    """Share of prompt tokens taken from the server's cache, over requests that report both counts."""
    cached, prompt = 0, 0
    for trace in traces:
        usage = trace.usage
        if usage and usage.prompt_tokens is not None and usage.cached_tokens is not None:
            cached += usage.cached_tokens
            prompt += usage.prompt_tokens
    return cached / prompt if prompt else None


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


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
