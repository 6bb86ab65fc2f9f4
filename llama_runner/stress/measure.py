"""One request's record: what its trace says, kept small. Pure."""

from itertools import pairwise
from typing import Final

from llama_runner.backends.fold import AnswerFold
from llama_runner.core.trace import NO_METRICS, decode_steps, request_metrics
from llama_runner.stress.records import Outcome, RequestRecord

# The error tree has no word of its own for it; here it matters, as a timeout is load and a refusal is not.
TIMEOUT_KIND: Final = "timeout"


def record_of(
    fold: AnswerFold,
    *,
    index: int,
    worker: int,
    t_begin_ns: int,
    t_end_ns: int,
    aborted: bool,
    timed_out: bool,
) -> RequestRecord:
    """The record of one request: figures of what came, whatever the outcome."""
    trace = fold.trace()
    stamps = trace.stamps if trace else ()
    error = None if aborted else fold.error
    outcome = Outcome.ABORTED if aborted else Outcome.FAILED if error else Outcome.OK
    return RequestRecord(
        index=index,
        worker=worker,
        outcome=outcome,
        t_begin_ns=t_begin_ns,
        t_end_ns=t_end_ns,
        t_send_ns=trace.t_send_ns if trace else None,
        t_first_ns=stamps[0].t_ns if stamps else None,
        t_last_ns=stamps[-1].t_ns if stamps else None,
        metrics=request_metrics(trace) if trace else NO_METRICS,
        events=len(stamps),
        stall_max_s=max(((b.t_ns - a.t_ns) / 1e9 for a, b in pairwise(stamps)), default=None),
        decode_tokens=decode_steps(trace) if trace else None,
        finish_reason=fold.snapshot().finish_reason,
        error_kind=None if error is None else TIMEOUT_KIND if timed_out else error.kind,
        error=error.message if error else None,
    )
