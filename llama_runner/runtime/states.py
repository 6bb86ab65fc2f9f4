"""What an instance can be, what is told about it, and what all instances of a manager share."""

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

import httpx

from llama_runner.core.clock import Clock


class InstanceState(StrEnum):
    """Where an instance is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


SERVING: Final = frozenset({InstanceState.READY, InstanceState.DEGRADED})
ENDED: Final = frozenset({InstanceState.STOPPED, InstanceState.FAILED})


@dataclass(frozen=True, slots=True)
class InstanceSnapshot:
    """One instance at one moment; None where unknown or not applicable now.

    Attributes:
        progress: Share of the model that is loaded, 0 to 1.
        load_s: From spawn to ready.
        error: Why it is not ready, one sentence.
        advice: What to do about it, one sentence.
        ram_bytes: Resident memory of the child, mapped model files included.
        idle_s: Since its last request ended; None while it works.
        peak_ram_bytes: The most it ever held.
        profile: The one it was loaded with.
        engine: The name of what runs it.
        gpu_layers: Layers that were planned for graphics cards; None where there are none.
        unload_in_s: Until it is unloaded for want of work; None for never, or while it works.
        note: What is not as it was asked for, one sentence.
    """

    id: str
    model_id: str
    state: InstanceState
    pid: int | None = None
    port: int | None = None
    url: str | None = None
    progress: float | None = None
    load_s: float | None = None
    error: str | None = None
    advice: str | None = None
    started_utc: datetime | None = None
    idle_s: float | None = None
    in_flight: int | None = None
    pinned: bool = False
    ram_bytes: int | None = None
    vram_bytes: int | None = None
    unload_in_s: float | None = None
    peak_ram_bytes: int | None = None
    profile: str | None = None
    engine: str | None = None
    gpu_layers: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class InUse:
    """A serving instance, as long as it is used.

    Attributes:
        load_s: How long its user waited for it to be ready.
    """

    url: str
    api_key: str = field(repr=False)
    load_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a child that serves, and what to do about it: a sentence each."""

    message: str
    advice: str = "Wait; it is restarted if it stays so."


@dataclass(frozen=True, slots=True)
class Timings:
    """How often a child is looked at; tests shorten them.

    Attributes:
        poll_first_s: First pause between two looks while it loads; grows to `poll_last_s`.
        health_every_s: Between two looks while it serves.
        health_timeout_s: After which a look counts as missed.
        misses_degraded: Misses in a row that make it degraded.
        misses_hung: Misses in a row after which it is ended and the restart policy decides.
        still_s: Work that stands still for so long makes it degraded, for twice as long ends it.
        fruitless_s: Computing for so long without a token makes it degraded. One batch of a large model takes
            minutes on a slow machine, and looks the same.
    """

    poll_first_s: float = 0.05
    poll_last_s: float = 1.0
    health_every_s: float = 5.0
    health_timeout_s: float = 2.0
    misses_degraded: int = 3
    misses_hung: int = 6
    still_s: float = 60.0
    fruitless_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every instance of one manager shares.

    Attributes:
        environ: Of this process; scrubbed before a child sees it.
        pick_port: A free loopback port; may be taken by the time it is used.
        chance: A random number from 0 to 1, for restart jitter.
        restart_stuck_s: After computing for so long without a token a child is ended; 0 for never.
        child_env: More variables for each child.
    """

    http: httpx.AsyncClient
    clock: Clock
    environ: Mapping[str, str] = field(repr=False)
    pick_port: Callable[[], int]
    stop_grace_s: float
    load_stall_s: float
    restart_stuck_s: float = 0.0
    timings: Timings = Timings()
    platform: str = sys.platform
    chance: Callable[[], float] = random.random
    child_env: Mapping[str, str] = field(default_factory=dict, repr=False)
