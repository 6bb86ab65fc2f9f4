"""Values the stress tests build on."""

from typing import Any

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.core.trace import (
    RequestTrace,
    TokenKind,
    TokenStamp,
    Usage,
    decode_steps,
    request_metrics,
)
from llama_runner.stress.health import ClientHealth, ClientStatus
from llama_runner.stress.plan import BurstPlan
from llama_runner.stress.records import Outcome, RequestRecord, WorkerReport

MS = 1_000_000
FINE = ClientHealth(ClientStatus.OK, "The load generator kept up.", 0.001, 0.002, 5.0, 1)


def a_plan(url: str = "http://127.0.0.1:1", **changes: Any) -> BurstPlan:
    """A small plan for this machine."""
    target = Target(Endpoint(url, Engine.OPENAI, "secret-key"), "model", "model")
    return BurstPlan(**{"target": target, "prompt": "Hello", **changes})


def a_trace(
    *, send_ms: float = 0, first_ms: float = 200, gap_ms: float = 20, tokens: int = 10
) -> RequestTrace:
    """A request whose tokens come one by one, counted by the server at the end."""
    stamps = tuple(
        TokenStamp(round((send_ms + first_ms + i * gap_ms) * MS), TokenKind.TEXT) for i in range(tokens)
    )
    return RequestTrace(
        t_send_ns=round(send_ms * MS),
        stamps=stamps,
        t_end_ns=stamps[-1].t_ns if stamps else None,
        usage=Usage(prompt_tokens=10, output_tokens=tokens, cached_tokens=0),
    )


def a_record(
    index: int = 0, *, outcome: Outcome = Outcome.OK, error_kind: str | None = None, **of_trace: Any
) -> RequestRecord:
    """The record of `a_trace`."""
    trace = a_trace(**of_trace)
    last_ns = trace.stamps[-1].t_ns if trace.stamps else trace.t_send_ns
    return RequestRecord(
        index=index,
        worker=0,
        outcome=outcome,
        t_begin_ns=trace.t_send_ns,
        t_end_ns=last_ns,
        t_send_ns=trace.t_send_ns,
        t_first_ns=trace.stamps[0].t_ns if trace.stamps else None,
        t_last_ns=last_ns if trace.stamps else None,
        metrics=request_metrics(trace),
        events=len(trace.stamps),
        decode_tokens=decode_steps(trace),
        error_kind=error_kind,
    )


def a_worker(**changes: Any) -> WorkerReport:
    """A worker that had an easy time."""
    values: dict[str, Any] = {
        "worker": 0,
        "pid": 1,
        "beats": 100,
        "lag_p50_s": 0.0005,
        "lag_p99_s": 0.001,
        "lag_max_s": 0.002,
        "cpu_s": 0.1,
        "wall_s": 2.0,
        "reads": 100,
        "decode_backlog": 1,
        "loop": "uvloop",
    }
    return WorkerReport(**{**values, **changes})
