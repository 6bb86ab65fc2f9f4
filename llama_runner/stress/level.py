"""One level of a load test: from records to figures. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.stress.records import Outcome, RequestRecord
from llama_runner.stress.statistics import Summary, summarise


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of one level: sent = ok + failed + aborted. Dropped: due, but never sent (open loop)."""

    sent: int
    ok: int
    failed: int
    aborted: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One concurrency's figures. Field names are the names in JSON; summaries are over successful requests.

    Attributes:
        errors: Failed requests by kind of error.
        output_tps: All output tokens that came, of failed and aborted requests too, per second of the window.
        window_s: From the first request byte to the last token; None when no token came.
        tokens_source: Successful requests by where their token count came from.
        mean_in_flight: Over the window.
    """

    concurrency: int
    requests: RequestCounts
    errors: Mapping[str, int]
    ttft_s: Summary
    ttfat_s: Summary
    tpot_s: Summary
    decode_tps: Summary
    e2e_s: Summary
    output_tps: float | None
    decode_tps_pooled: float | None
    rps: float | None
    window_s: float | None
    mean_in_flight: float | None
    stall_max_s: float | None
    tokens_per_event: float | None
    output_tokens: int
    prompt_tokens: int | None
    cached_tokens: int | None
    cache_hit: float | None
    error_rate: float | None
    tokens_source: Mapping[str, int]


def summarise_level(concurrency: int, records: Sequence[RequestRecord], *, lost: int = 0) -> LevelResult:
    """The figures of one level.

    Args:
        lost: Requests that were begun and of which no record came back: they count as aborted.
    """
    ok = [record for record in records if record.outcome is Outcome.OK]
    outcomes = Counter(record.outcome for record in records)
    window = _window_ns(records)
    window_s = None if window is None else (window[1] - window[0]) / 1e9
    output_tokens = sum(record.metrics.output_tokens or 0 for record in records)
    prompt_tokens = _total(ok, lambda metrics: metrics.prompt_tokens)
    cached_tokens = _total(ok, lambda metrics: metrics.cached_tokens)
    sent = len(records) + lost
    return LevelResult(
        concurrency=concurrency,
        requests=RequestCounts(
            sent=sent,
            ok=len(ok),
            failed=outcomes[Outcome.FAILED],
            aborted=outcomes[Outcome.ABORTED] + lost,
        ),
        errors=_errors(records),
        ttft_s=_summary(ok, lambda metrics: metrics.ttft_s),
        ttfat_s=_summary(ok, lambda metrics: metrics.ttfat_s),
        tpot_s=_summary(ok, lambda metrics: metrics.tpot_s),
        decode_tps=_summary(ok, lambda metrics: metrics.decode_tps),
        e2e_s=_summary(ok, lambda metrics: metrics.e2e_s),
        output_tps=output_tokens / window_s if window_s else None,
        decode_tps_pooled=_pooled_decode_tps(ok),
        rps=len(ok) / window_s if window_s else None,
        window_s=window_s,
        mean_in_flight=_mean_in_flight(records, window),
        stall_max_s=max((r.stall_max_s for r in ok if r.stall_max_s is not None), default=None),
        tokens_per_event=_tokens_per_event(ok),
        output_tokens=output_tokens,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        cache_hit=None if not prompt_tokens or cached_tokens is None else cached_tokens / prompt_tokens,
        error_rate=outcomes[Outcome.FAILED] / sent if sent else None,
        tokens_source=_sources(ok),
    )


def _summary(records: Sequence[RequestRecord], value: Callable[[RequestMetrics], float | None]) -> Summary:
    return summarise([v for record in records if (v := value(record.metrics)) is not None])


def _errors(records: Sequence[RequestRecord]) -> dict[str, int]:
    kinds = Counter(record.error_kind or "failed" for record in records if record.outcome is Outcome.FAILED)
    return dict(sorted(kinds.items()))


def _total(records: Sequence[RequestRecord], value: Callable[[RequestMetrics], int | None]) -> int | None:
    """Sum over the requests that tell; None when none does."""
    told = [v for record in records if (v := value(record.metrics)) is not None]
    return sum(told) if told else None


def _window_ns(records: Sequence[RequestRecord]) -> tuple[int, int] | None:
    sent = [record.t_send_ns for record in records if record.t_send_ns is not None]
    last = [record.t_last_ns for record in records if record.t_last_ns is not None]
    return (min(sent), max(last)) if sent and last and max(last) > min(sent) else None


def _mean_in_flight(records: Sequence[RequestRecord], window: tuple[int, int] | None) -> float | None:
    if window is None:
        return None
    start, end = window
    spans = ((r.t_send_ns, r.t_end_ns) for r in records if r.t_send_ns is not None)
    return sum(max(0, min(end, ended) - max(start, sent)) for sent, ended in spans) / (end - start)


def _pooled_decode_tps(records: Sequence[RequestRecord]) -> float | None:
    tokens, span_ns = 0, 0
    for record in records:
        if record.decode_tokens and record.t_first_ns is not None and record.t_last_ns is not None:
            tokens += record.decode_tokens
            span_ns += record.t_last_ns - record.t_first_ns
    return tokens * 1e9 / span_ns if span_ns else None


def _tokens_per_event(records: Sequence[RequestRecord]) -> float | None:
    counted = [r for r in records if r.events and r.metrics.tokens_source is not TokensSource.CHUNKS]
    events = sum(record.events for record in counted)
    return sum(record.metrics.output_tokens or 0 for record in counted) / events if events else None


def _sources(records: Sequence[RequestRecord]) -> dict[str, int]:
    told = Counter(r.metrics.tokens_source.value for r in records if r.metrics.tokens_source is not None)
    return dict(sorted(told.items()))
