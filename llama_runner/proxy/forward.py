"""One call on its way: the steps of its route in order, until one begins to answer; after that, no other.

What a step is asked, and how, is `asking`'s; which servers are passed over, `breaker`'s.
"""

import logging
from collections.abc import Sequence
from typing import Final

from llama_runner.core.clock import seconds
from llama_runner.core.errors import (
    InvalidRequestError,
    LlamaRunnerError,
    ProtocolError,
    ServerError,
    ServiceError,
    TruncatedError,
    UnreachableError,
)
from llama_runner.core.text import visible_controls
from llama_runner.proxy.asking import Asking, ask
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.host import LOCAL, Step
from llama_runner.proxy.out import Out
from llama_runner.proxy.records import RequestRecord, Tried

log = logging.getLogger(__name__)

# How long an engine that died may take to be noticed and replaced, and between two looks.
RETRY_FOR_S: Final = 10.0
CHANGE_LIMIT_S: Final = 0.5
# Safety 3.2: the first and at most two others.
MAX_ASKED: Final = 3
# A known server has queues of its own; this only keeps connections from piling up.
MAX_REMOTE_IN_FLIGHT: Final = 128
# A server that answers like this is alive and of no use.
_BROKEN: Final = frozenset({500, 502, 504})


async def forward(shared: Relays, call: Call, record: RequestRecord, out: Out, keep_s: float | None) -> None:
    """Ask each step in its turn until one begins to answer.

    Args:
        keep_s: How long the model stays in memory without work afterwards; None for the default.

    Raises:
        LlamaRunnerError: No step answered, or one broke off after its first byte.
    """
    one = Asking(shared, call, record, out, keep_s)
    steps = _worth_asking(one, call.model.ways)
    for step in steps[:-1]:
        try:
            await _in_turn(one, step, last=False)
        except LlamaRunnerError as error:
            if out.begun or isinstance(error, InvalidRequestError | ServiceError):
                raise
            log.info("step failed model=%s step=%s reason=%s", call.model.id, step.where, error.kind)
            record.tried += (Tried(step.where, error.message),)
            out.start_over(call.writer(record))
        else:
            return
    try:
        await _in_turn(one, steps[-1], last=True)
    except LlamaRunnerError as error:
        if record.tried and not out.begun:
            error.message = _nobody_answered(record, steps[-1], error)
        raise


def _worth_asking(one: Asking, ways: Sequence[Step]) -> Sequence[Step]:
    """The steps whose servers are not passed over; when all are, the one that was not tried for longest."""
    if len(ways) == 1:
        return ways
    breakers, now_ns = one.shared.breakers, one.shared.clock.now_ns()
    up = [way for way in ways if way.where == LOCAL or not breakers.passed_over(way.where, now_ns)]
    if not up:
        up = [ways[breakers.tried_longest_ago([way.where for way in ways])]]
    one.record.tried = tuple(
        Tried(way.where, "It failed again and again and is passed over for now.")
        for way in ways
        if way not in up
    )
    return up[:MAX_ASKED]


def _nobody_answered(record: RequestRecord, last: Step, error: LlamaRunnerError) -> str:
    told = (*record.tried, Tried(last.where, error.message))
    reasons = " ".join(f"{one.where}: {one.why}" for one in told)
    return f"No step of {visible_controls(record.model, 100)} answered. {reasons}"


async def _in_turn(one: Asking, step: Step, *, last: bool) -> None:
    """Wait for the turn at a step, then ask it."""
    is_local = step.where == LOCAL
    limit = None if is_local else MAX_REMOTE_IN_FLIGHT
    one.record.step = step.where
    async with one.shared.admission.admitted(step.target, limit) as waited_s:
        one.record.queue_s = (one.record.queue_s or 0.0) + waited_s
        await (_local if is_local else _remote)(one, step, last)


async def _local(one: Asking, step: Step, last: bool) -> None:
    """Again while nothing went out and the engine is being replaced."""
    clock = one.shared.clock
    began_ns = clock.now_ns()
    while True:
        try:
            await ask(one, step, last=last)
        except UnreachableError as error:
            # An engine that just died: nothing went out, its successor may have it.
            if not error.never_sent or seconds(clock.now_ns(), began_ns) > RETRY_FOR_S:
                raise
            log.info("engine is gone, asking again model=%s", step.target)
            await one.shared.host.changed(CHANGE_LIMIT_S)
        else:
            return


async def _remote(one: Asking, step: Step, last: bool) -> None:
    """Once; its breaker learns what came of it."""
    breakers = one.shared.breakers
    breakers.asked(step.where, one.shared.clock.now_ns())
    limit_s = None if last else one.shared.settings().step_timeout_s
    try:
        status = await ask(one, step, last=last, limit_s=limit_s)
    except (UnreachableError, TruncatedError, ProtocolError) as error:
        _down(one, step, error.kind)
        raise
    except ServerError as error:
        # Of the statuses that are raised, this class itself stands for those of a broken server.
        if type(error) is ServerError:
            _down(one, step, error.kind)
        raise
    if status in _BROKEN:
        _down(one, step, str(status))
    else:
        breakers.answered(step.where)


def _down(one: Asking, step: Step, why: str) -> None:
    log.info("server failed server=%s reason=%s", step.where, why)
    one.shared.breakers.failed(step.where, one.shared.clock.now_ns())
