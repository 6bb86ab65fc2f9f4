"""One loaded model: the single writer of its state. Others read snapshots, wait, or ask it to stop.

Every change of state wakes every waiter; a waiter never outlives the instance.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from llama_runner.core.clock import seconds
from llama_runner.core.errors import EngineError
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.diagnosis import Cause, Failure
from llama_runner.runtime.engine import EngineInfo
from llama_runner.runtime.life import Life, LifeOwner
from llama_runner.runtime.output import LogFile, OutputRing
from llama_runner.runtime.policy import Crash, restart_delay_s
from llama_runner.runtime.smaller import smaller
from llama_runner.runtime.states import (
    ENDED,
    SERVING,
    InstanceSnapshot,
    InstanceState,
    Surroundings,
    Timings,
    Trouble,
)

__all__ = ("Instance", "InstanceSnapshot", "InstanceState", "Surroundings", "Timings")

log = logging.getLogger(__name__)

# F11: a port may be taken between choosing and binding; five times in a row is no accident.
_PORT_TRIES: Final = 5
# llama-server's log writer loses its last lines in one exit of ten, and with them the reason: a load that
# ended without it is tried once more, unless that would keep a person waiting.
_SHORT_LOAD_S: Final = 5.0
# Crashes older than the policy looks at are dropped beyond this many.
_MAX_CRASHES: Final = 32


class Instance(LifeOwner):
    """Supervises the child of one model through loads, crashes and restarts.

    Args:
        changed: Called after every change of the snapshot that matters to a reader.
    """

    def __init__(
        self,
        *,
        instance_id: str,
        model: ModelFile,
        engine: EngineInfo,
        options: LoadOptions,
        around: Surroundings,
        ring: OutputRing,
        log_file: LogFile,
        changed: Callable[[], None],
    ) -> None:
        self.model = model
        self.engine = engine
        self.options = options
        self.ring = ring
        self.log_file = log_file
        self.around = around
        self._changed = changed
        self._view = InstanceSnapshot(instance_id, model.id, InstanceState.STARTING)
        self._turn = asyncio.Event()
        self._stop = asyncio.Event()
        self._life: Life | None = None
        self._crashes: list[Crash] = []
        self._was_ready = False
        self._repack = True
        self._shrunk = False
        self._listened_again = False
        self._in_flight = 0
        self._draining = 0
        # Without work for so long it is unloaded; None stays. What a request may change, and what it was.
        self.idle_limit_s: float | None = None
        self.usual_idle_limit_s: float | None = None
        self._last_used_ns: int | None = None

    # --- for readers -----------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Its id."""
        return self._view.id

    @property
    def state(self) -> InstanceState:
        """Its state now. Do not branch a start or stop on it: ask the manager."""
        return self._view.state

    def snapshot(self) -> InstanceSnapshot:
        """What there is to know now."""
        return replace(
            self._view, in_flight=self._in_flight, idle_s=self._idle_s(), unload_in_s=self.due_in_s()
        )

    @property
    def leaving(self) -> bool:
        """Whether it is about to end, whatever its state says still: nobody new may count on it."""
        return self._stop.is_set() or self._draining > 0

    async def drained(self, limit_s: float | None = None) -> None:
        """Let those who use it finish, and nobody else begin; end it after that.

        Cancelled, it stays as it was before: whoever wanted it to leave has left. Others may want it still.
        """
        self._draining += 1
        try:
            await self.unused(limit_s)
        except BaseException:
            self._draining -= 1
            self._wake()
            raise

    async def unused(self, limit_s: float | None = None) -> None:
        """Wait until nobody uses it, or until the time is over."""
        try:
            async with asyncio.timeout(limit_s):
                while self._in_flight and not self._stop.is_set():
                    await self._turn.wait()
        except TimeoutError:
            log.debug("still used model=%s", self.model.id)

    def pin(self, pinned: bool) -> None:
        """Keep it in memory whatever else wants room, or let it go again."""
        self._update(pinned=pinned)

    def due_in_s(self) -> float | None:
        """Seconds until it has been idle for too long, 0 or less when it has; None while that cannot be."""
        idle_s = self._idle_s()
        if idle_s is None or self.idle_limit_s is None or self.leaving:
            return None
        return self.idle_limit_s - idle_s

    @contextmanager
    def used(self) -> Iterator[None]:
        """Count a request as in flight for the length of the block."""
        self._in_flight += 1
        self._changed()
        try:
            yield
        finally:
            self._in_flight -= 1
            self._last_used_ns = self.around.clock.now_ns()
            self._wake()
            self._changed()

    def _idle_s(self) -> float | None:
        """Since the last request ended, or since it became ready; None while it works or does not serve."""
        if self._in_flight or self._last_used_ns is None or self._view.state not in SERVING:
            return None
        return seconds(self.around.clock.now_ns(), self._last_used_ns)

    def access(self) -> tuple[str, str]:
        """URL and key of the serving child. Raises EngineError when it does not serve."""
        if self._life is None or self._view.state not in SERVING:
            raise EngineError(
                f"{self._view.model_id} is {self._view.state.value}, not ready.",
                "Load it, or wait until it is ready.",
            )
        return self._life.url, self._life.api_key

    async def ready(self) -> InstanceSnapshot:
        """Wait until it serves. Raises EngineError when it fails or is stopped instead."""
        while self._view.state not in SERVING:
            if self._view.state in ENDED or self._view.state is InstanceState.STOPPING:
                raise self.failure()
            await self._turn.wait()
        return self._view

    async def ended(self) -> None:
        """Wait until it has stopped or failed for good."""
        while self._view.state not in ENDED:
            await self._turn.wait()

    async def left(self) -> bool:
        """Wait for the end of one that is leaving. False when it stays after all."""
        while self._view.state not in ENDED:
            if not self.leaving and self._view.state is not InstanceState.STOPPING:
                return False
            await self._turn.wait()
        return True

    def failure(self) -> EngineError:
        """Why it does not serve, as an error to raise."""
        if self._view.error is None:
            return EngineError(f"{self._view.model_id} was unloaded.", "Load it again to use it.")
        return EngineError(self._view.error, self._view.advice or "")

    def request_stop(self) -> None:
        """Ask it to end; `ended` tells when. Idempotent."""
        self._stop.set()
        self._wake()
        if self._life is not None:
            self._life.request_stop()

    # --- the writer --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Its whole life; run it once, as a task. Cancelling it kills the child at once."""
        try:
            await self._supervise()
        except asyncio.CancelledError:
            self._enter(InstanceState.STOPPED)
            raise
        except Exception as error:
            # The task's top edge: waiters must be told, and the manager lives on.
            log.exception("instance failed model=%s", self.model.id)
            self._fail(
                Failure(Cause.CRASH, f"An unexpected error ended {self.model.id}: {error}.", "See the log.")
            )
        finally:
            self.log_file.close()

    async def _supervise(self) -> None:
        while True:
            failure = await self._one_load()
            if failure is None or self._stop.is_set():
                self._enter(
                    InstanceState.STOPPED, pid=None, port=None, url=None, progress=None, ram_bytes=None
                )
                return
            if self._may_try_without_repack(failure) or self._may_try_smaller(failure):
                continue
            delay_s = self._pause_after(failure)
            if delay_s is None:
                self._fail(failure)
                return
            log.warning(
                "child ended model=%s restart_s=%.1f reason=%s", self.model.id, delay_s, failure.message
            )
            self._enter(
                InstanceState.BACKOFF, error=failure.message, advice=failure.advice, pid=None, url=None
            )
            await self._stopped_within(delay_s)

    async def _one_load(self) -> Failure | None:
        """Start the child and stay with it to its end; tries other ports. None: it was asked to stop."""
        failure: Failure | None = None
        began_ns = self.around.clock.now_ns()
        for _ in range(_PORT_TRIES):
            if self._stop.is_set():
                return None
            self._life = Life(self, repack=self._repack)
            self._enter(
                InstanceState.STARTING,
                started_utc=self.around.clock.utc(),
                port=self._life.port,
                url=self._life.url,
                progress=None,
                load_s=None,
            )
            try:
                failure = await self._life.run()
            finally:
                self._life = None
            if failure is None or not self._worth_another_try(failure, began_ns):
                break
        return failure

    def _worth_another_try(self, failure: Failure, began_ns: int) -> bool:
        if failure.cause is Cause.PORT:
            log.info("port was taken model=%s reason=%s", self.model.id, failure.message)
            return True
        took_s = seconds(self.around.clock.now_ns(), began_ns)
        if failure.cause is not Cause.MUTE or self._listened_again or took_s > _SHORT_LOAD_S:
            return False
        log.info("child ended without a word, trying once more model=%s", self.model.id)
        self._listened_again = True
        return True

    def _may_try_without_repack(self, failure: Failure) -> bool:
        """Some virtual machines claim instructions they lack; the engine's repacking trips over it."""
        if (
            failure.cause is not Cause.INSTRUCTION
            or not self._repack
            or "--no-repack" not in self.engine.flags
        ):
            return False
        log.warning("illegal instruction, trying once with --no-repack model=%s", self.model.id)
        self._repack = False
        self._update(
            note="This processor lacks an instruction, so it runs without repacking, a little slower."
        )
        return True

    def _may_try_smaller(self, failure: Failure) -> bool:
        """F13: a load that ran out of memory is tried once more with less."""
        ran_out = failure.cause in (Cause.MEMORY, Cause.GPU_MEMORY) and self._view.load_s is None
        found = smaller(self.options, self.model.header, failure.cause) if ran_out else None
        if found is None or self._shrunk:
            return False
        self._shrunk = True
        self.options, note = found
        log.warning("out of memory, trying once with less model=%s note=%s", self.model.id, note)
        self._update(note=note)
        return True

    def _pause_after(self, failure: Failure) -> float | None:
        self._crashes.append(Crash(self.around.clock.now_ns(), failure.cause))
        del self._crashes[:-_MAX_CRASHES]
        return restart_delay_s(self._crashes, was_ready=self._was_ready, chance=self.around.chance())

    async def _stopped_within(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._stop.wait()
        except TimeoutError:
            log.debug("pause over model=%s", self.model.id)

    # --- what its child's life reports -------------------------------------------------------------------

    def on_spawned(self, pid: int) -> None:
        """The child runs."""
        self._enter(InstanceState.STARTING, pid=pid)

    def on_progress(self, value: float) -> None:
        """The child loaded a part of its model."""
        self._update(progress=value)

    def on_ready(self, load_s: float) -> None:
        """The child serves, and it is ours."""
        self._was_ready = True
        self._last_used_ns = self.around.clock.now_ns()
        log.info("model ready model=%s load_s=%.2f", self.model.id, load_s)
        self._enter(InstanceState.READY, load_s=load_s, progress=None, error=None, advice=None)

    def on_health(self, trouble: Trouble | None, ram_bytes: int | None) -> None:
        """The child was looked at while serving."""
        # Not announced: memory moves all the time, readers see it with the next change or at their next look.
        peak = max(ram_bytes or 0, self._view.peak_ram_bytes or 0) or None
        self._view = replace(self._view, ram_bytes=ram_bytes, peak_ram_bytes=peak)
        if trouble and self._view.state is InstanceState.READY:
            self._enter(InstanceState.DEGRADED, error=trouble.message, advice=trouble.advice)
        elif trouble is None and self._view.state is InstanceState.DEGRADED:
            self._enter(InstanceState.READY, error=None, advice=None)

    def on_stopping(self) -> None:
        """The child was asked to end."""
        self._enter(InstanceState.STOPPING, progress=None)

    def _fail(self, failure: Failure) -> None:
        log.error(
            "model failed model=%s cause=%s reason=%s", self.model.id, failure.cause.value, failure.message
        )
        self._enter(
            InstanceState.FAILED,
            error=failure.message,
            advice=failure.advice,
            pid=None,
            port=None,
            url=None,
            progress=None,
            ram_bytes=None,
        )

    def _enter(self, state: InstanceState, **changes: object) -> None:
        self._update(state=state, **changes)
        self._wake()

    def _wake(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    def _update(self, **changes: object) -> None:
        self._view = replace(self._view, **changes)  # type: ignore[arg-type]
        self._changed()
