"""When a child that ended is started again. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llama_runner.runtime.diagnosis import Cause

# F5: three crashes within a minute are a loop, not bad luck.
_LOOP_CRASHES: Final = 3
_LOOP_WINDOW_S: Final = 60.0
# What crashed this long ago does not lengthen the pause any more.
_FORGET_S: Final = 600.0
_DELAYS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
# Several models killed by one cause must not all come back at the same moment.
_JITTER: Final = 0.2
# Starting again would end the same way, or make a shortage worse (F14, F15).
_FINAL: Final = frozenset({Cause.KILLED, Cause.GPU_LOST, Cause.LIBRARY, Cause.PROGRAM, Cause.OPTION})


@dataclass(frozen=True, slots=True)
class Crash:
    """One end that nobody asked for."""

    t_ns: int
    cause: Cause


def restart_delay_s(crashes: Sequence[Crash], *, was_ready: bool, chance: float) -> float | None:
    """Seconds to wait before starting again; None to give up.

    Args:
        crashes: All of this instance, oldest first, the one in question last.
        was_ready: It has served since it was loaded; what never worked is not tried again.
        chance: A random number from 0 to 1.
    """
    last = crashes[-1]
    if not was_ready or last.cause in _FINAL:
        return None
    ages_s = [(last.t_ns - crash.t_ns) / 1e9 for crash in crashes]
    if sum(age_s < _LOOP_WINDOW_S for age_s in ages_s) >= _LOOP_CRASHES:
        return None
    recent = sum(age_s < _FORGET_S for age_s in ages_s)
    delay_s = _DELAYS_S[min(recent, len(_DELAYS_S)) - 1]
    return delay_s * (1 + _JITTER * (2 * chance - 1))
