"""When the metronome writes what: a plan in a dialect as a list of timed writes. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.fakes.metronome_dialects import PROMPT_TOKENS, Dialect, Progress
from tests.fakes.metronome_plan import Plan


@dataclass(frozen=True, slots=True)
class Step:
    """One write: when, what, and how many tokens are in it. `action` ends the answer instead."""

    due_s: float
    data: bytes = b""
    tokens: int = 0
    action: str = ""


def schedule(plan: Plan, dialect: Dialect) -> Iterator[Step]:
    """All writes of one answer, in order of time.

    Built as they are needed: what takes long at the start of one answer is a late stamp on the next request.
    """
    yield from sorted(_before_first(plan, dialect), key=lambda step: step.due_s)
    if plan.ping_for_ever:
        return
    first = 1
    due_s = plan.prefill_ms / 1e3
    for position, count in enumerate(plan.chunks()):
        due_s = (plan.prefill_ms + position * plan.gap_ms) / 1e3
        if (end := _broken_off(plan, dialect, first - 1, due_s)) is not None:
            yield end
            return
        yield Step(due_s, dialect.chunk(plan, Progress(first, count)), count)
        first += count
    end = _broken_off(plan, dialect, first - 1, due_s)
    yield end or Step(due_s, dialect.end(plan), action="sent")


def _before_first(plan: Plan, dialect: Dialect) -> list[Step]:
    steps: list[Step] = []
    if plan.role_ms is not None:
        steps.append(Step(plan.role_ms / 1e3, dialect.role(plan)))
    until_ms = plan.prefill_ms if not plan.ping_for_ever else 60_000
    if plan.ping_ms is not None:
        count = int((until_ms - 0.001) // plan.ping_ms)
        steps += [Step(number * plan.ping_ms / 1e3, dialect.ping()) for number in range(1, count + 1)]
    for number in range(1, plan.progress + 1):
        due_s = plan.prefill_ms * number / (plan.progress + 1) / 1e3
        data = dialect.prefill(PROMPT_TOKENS * number // (plan.progress + 1), PROMPT_TOKENS)
        steps.append(Step(due_s, data))
    return steps


def _broken_off(plan: Plan, dialect: Dialect, sent: int, due_s: float) -> Step | None:
    """The step that ends the answer early after `sent` tokens, None when it goes on."""
    if plan.error_at is not None and sent >= plan.error_at:
        return Step(due_s, dialect.error("failed as planned"), action="cut")
    for at, action in ((plan.cut_at, "cut"), (plan.reset_at, "reset"), (plan.stall_at, "stall")):
        if at is not None and sent >= at:
            return Step(due_s, action=action)
    return None
