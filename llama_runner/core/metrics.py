"""The one registry of metrics: name, unit, formula, which way is better. Tables, exports and docs read it.

Symbols as in docs/metrics.md: t_sched planned arrival, t_send first request byte written, t_first and t_last
first and last token-bearing event, t_end stream closed, N output tokens with reasoning, n1 those of the first
event, P prompt tokens, W the measured window. Functions of `core.trace` compute the figures of a request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    Attributes:
        name: As in JSON, with its unit where it has one.
        unit: What is counted, as shown beside the number; empty for pure numbers.
        better: Which way is better, None where neither is.
        help: What it says and when it is unknown, for tooltips.
    """

    name: str
    title: str
    unit: str
    formula: str
    better: Better | None
    help: str


_ALL: Final = (
    Metric(
        "queue_delay_s", "Queue delay", "s", "t_send - t_sched", "lower",
        "How long the request waited in this program before it was sent. Only where arrivals are planned.",
    ),
    Metric(
        "ttft_s", "Time to first token", "s", "t_first - t_send", "lower",
        "From the first request byte to the first token of any kind, reasoning included. "
        "Role events, pings and progress are not tokens.",
    ),
    Metric(
        "ttft_user_s", "Time to first token (user)", "s", "t_first - t_sched", "lower",
        "As the user would see it: from the planned arrival. Only where arrivals are planned.",
    ),
    Metric(
        "ttfat_s", "Time to first answer token", "s", "t_first_answer - t_send", "lower",
        "From the first request byte to the first token that is not reasoning. Unknown when no answer came.",
    ),
    Metric(
        "e2e_s", "Total time", "s", "t_last - t_send", "lower",
        "From the first request byte to the last token.",
    ),
    Metric(
        "e2e_user_s", "Total time (user)", "s", "t_last - t_sched", "lower",
        "From the planned arrival to the last token. Only where arrivals are planned.",
    ),
    Metric(
        "tail_s", "Tail", "s", "t_end - t_last", "lower",
        "From the last token to the end of the stream: a slow closing of the server.",
    ),
    Metric(
        "tpot_s", "Time per output token", "s", "(t_last - t_first) / (N - n1)", "lower",
        "Mean time of a decode step. Unknown with fewer than 4 tokens after the first event, when all tokens "
        "came at once, or when reasoning was counted but not streamed.",
    ),
    Metric(
        "decode_tps", "Decode speed", "tok/s", "1 / tpot", "higher",
        "How fast one answer grows once it has begun.",
    ),
    Metric(
        "decode_tps_pooled", "Decode speed (pooled)", "tok/s",
        "sum(N - n1) / sum(t_last - t_first)", "higher",
        "Decode speed over all requests together: long answers weigh more.",
    ),
    Metric(
        "e2e_tps", "Speed over all", "tok/s", "N / e2e", "higher",
        "Output tokens per second of total time, waiting included.",
    ),
    Metric(
        "icl_s", "Inter-chunk latency", "s", "t_j - t_(j-1)", "lower",
        "Gap between two token-bearing events, pooled over requests: what the eye sees. "
        "A chunk may hold several tokens.",
    ),
    Metric(
        "itl_s", "Inter-token latency", "s", "icl_j / n_j, weight n_j", "lower",
        "Gap per token. Only where the server counts tokens per event.",
    ),
    Metric(
        "stall_max_s", "Longest stall", "s", "max(icl)", "lower",
        "The longest gap between two token-bearing events.",
    ),
    Metric(
        "stalls", "Stalls", "", "count(icl > max(250 ms, 5 * median(icl)))", "lower",
        "Gaps a reader notices.",
    ),
    Metric(
        "prefill_tps", "Prefill speed", "tok/s", "(P - cached) / server prompt time", "higher",
        "How fast the prompt was read, by the server's own clock. Unknown when it does not say.",
    ),
    Metric(
        "prompt_tokens", "Prompt tokens", "tokens", "P", None,
        "Tokens of the prompt as the server counted them.",
    ),
    Metric(
        "cached_tokens", "Cached tokens", "tokens", "cached", None,
        "Prompt tokens the server did not have to read again.",
    ),
    Metric(
        "output_tokens", "Output tokens", "tokens", "N", None,
        "Tokens generated, reasoning included. Where the count came from stands beside it.",
    ),
    Metric(
        "reasoning_tokens", "Reasoning tokens", "tokens", "N_reasoning", None,
        "Tokens generated before the answer, as the server counted them.",
    ),
    Metric(
        "tokens_source", "Source of the token count", "",
        "first available of chunk_usage, usage, server_tok, local_tok, chunks", None,
        "Where the number of output tokens came from. Sources are never mixed in one comparison; "
        "chunks are pieces of a stream, not tokens.",
    ),
    Metric(
        "output_tps", "Output throughput", "tok/s", "tokens arriving in W / |W|", "higher",
        "Output tokens of all requests together per second of the window.",
    ),
    Metric(
        "total_tps", "Total throughput", "tok/s",
        "(tokens arriving in W + P of requests with t_first in W) / |W|", "higher",
        "Output throughput with the prompts counted when their first token arrived.",
    ),
    Metric(
        "rps", "Request throughput", "req/s", "completions in W / |W|", "higher",
        "Requests completed per second of the window.",
    ),
    Metric(
        "offered_rps", "Offered rate", "req/s", "arrivals in W / |W|", None,
        "Requests that arrived per second of the window.",
    ),
    Metric(
        "window_s", "Window", "s", "|W|", None,
        "Length of the measured window.",
    ),
    Metric(
        "in_flight", "In flight", "requests", "count(t_send <= t < t_end)", None,
        "Requests sent and not ended at a moment.",
    ),
    Metric(
        "error_rate", "Error rate", "", "failed / sent", "lower",
        "Share of requests that failed.",
    ),
    Metric(
        "goodput_rps", "Goodput", "req/s", "count(all limits met) / |W|", "higher",
        "Requests per second that met every limit.",
    ),
    Metric(
        "attainment", "Attainment", "", "met / sent", "higher",
        "Share of requests that met every limit; failed, aborted and unmeasurable ones did not.",
    ),
    Metric(
        "cache_hit", "Cache hit rate", "", "sum(cached) / sum(P)", None,
        "Share of prompt tokens the server took from its cache. It flatters a benchmark.",
    ),
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _ALL})
