"""When the metronome writes what: a plan in a dialect as a list of timed writes. No I/O."""

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


def schedule(plan: Plan, dialect: Dialect) -> list[Step]:
    """All writes of one answer, in order of time."""
    steps = list(_before_first(plan, dialect))
    if plan.ping_for_ever:
        return sorted(steps, key=lambda step: step.due_s)
    first = 1
    due_s = plan.prefill_ms / 1e3
    ended = False
    for position, count in enumerate(plan.chunks()):
        due_s = (plan.prefill_ms + position * plan.gap_ms) / 1e3
        if (end := _broken_off(plan, dialect, first - 1, due_s)) is not None:
            steps.append(end)
            ended = True
            break
        at = Progress(first, count)
        steps.append(Step(due_s, dialect.chunk(plan, at), count))
        first += count
    if not ended:
        end = _broken_off(plan, dialect, first - 1, due_s)
        steps.append(end or Step(due_s, dialect.end(plan), action="sent"))
    return sorted(steps, key=lambda step: step.due_s)


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
