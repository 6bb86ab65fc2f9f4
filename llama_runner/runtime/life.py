"""One child process from spawn to its surely ended end. Decides nothing about what comes after.

Four tasks read and look; this object alone draws conclusions, from one queue. None of them outlives `run`.
"""

import asyncio
import contextlib
import logging
import secrets
import sys
from dataclasses import dataclass
from typing import Final, Protocol

from llama_runner.core.clock import seconds
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime import diagnosis
from llama_runner.runtime.argv import LOOPBACK, build_argv
from llama_runner.runtime.catalogue import ModelFile
from llama_runner.runtime.diagnosis import Failure
from llama_runner.runtime.engine import EngineInfo
from llama_runner.runtime.health import Health, counters, health, is_ours, still_health
from llama_runner.runtime.output import LogFile, Output, OutputRing, drain, parse_state
from llama_runner.runtime.states import Surroundings, Trouble
from llama_runner.runtime.work import NO_STANDSTILL, Standstill, WorkWatch
from llama_runner.system.processes import (
    PIPE,
    Child,
    cpu_seconds,
    memory_bytes,
    scrubbed_environment,
    spawn,
    stop,
)

log = logging.getLogger(__name__)

_KEY_BYTES: Final = 32
# How long the last words of an ended child may take to come out of its pipes, which a grandchild may hold.
_LAST_WORDS_S: Final = 0.5
# From giving up its port to its end, for a child that ends in order.
_CLOSING_S: Final = 2.0
# A server without open streams ends within a few milliseconds of being asked.
_FIRST_ASK_S: Final = 1.0
# Asks a llama-server that speaks the child protocol to end cleanly. Signals would wait for its stdin reader.
_EXIT_COMMAND: Final = b"cmd_router_to_child:exit\n"


class LifeOwner(Protocol):
    """Whose child it is: says what to start, and is told what happens to it."""

    model: ModelFile
    engine: EngineInfo
    options: LoadOptions
    around: Surroundings
    ring: OutputRing
    log_file: LogFile

    def on_spawned(self, pid: int) -> None:
        """The child runs."""
        ...

    def on_progress(self, value: float) -> None:
        """The child loaded a part of its model."""
        ...

    def on_ready(self, load_s: float) -> None:
        """The child serves, and it is ours."""
        ...

    def on_health(self, trouble: Trouble | None, ram_bytes: int | None) -> None:
        """The child was looked at while serving."""
        ...

    def on_stopping(self) -> None:
        """The child was asked to end."""
        ...


@dataclass(frozen=True, slots=True)
class _Exited:
    returncode: int


@dataclass(frozen=True, slots=True)
class _Looked:
    seen: Health
    stands: Standstill = NO_STANDSTILL


@dataclass(frozen=True, slots=True)
class _Verified:
    ours: bool


@dataclass(frozen=True, slots=True)
class _Told:
    state: str
    progress: float | None


class _StopAsked:
    pass


_Event = _Exited | _Looked | _Verified | _Told | _StopAsked


class Life:
    """One child of `owner`.

    Args:
        repack: Passed on to the command line.
    """

    def __init__(self, owner: LifeOwner, *, repack: bool) -> None:
        self._owner = owner
        self._around = owner.around
        self.port = self._around.pick_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.api_key = secrets.token_urlsafe(_KEY_BYTES)
        self._launch = build_argv(
            owner.engine.path,
            owner.engine.flags,
            owner.model.path,
            owner.options,
            port=self.port,
            alias=owner.model.id,
            api_key=self.api_key,
            repack=repack,
        )
        self._output = Output(owner.ring, owner.log_file, secret=self.api_key, clock=self._around.clock)
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._nudge = asyncio.Event()
        self._spawned_ns = self._around.clock.now_ns()
        self._speaks_protocol = False
        self._told_ready = False
        self._ready = False
        self._misses = 0

    def request_stop(self) -> None:
        """End the child; `run` then returns None."""
        self._events.put_nowait(_StopAsked())

    async def run(self) -> Failure | None:
        """Start the child and stay until it is gone. Returns why it ended, None when it was asked to."""
        env = scrubbed_environment(
            self._around.environ, self._around.platform, frozen=bool(getattr(sys, "frozen", False))
        )
        self._spawned_ns = self._around.clock.now_ns()
        self._output.note(f"$ {' '.join(self._launch.argv)}")
        try:
            child = await spawn(
                self._launch.argv,
                env={**env, **self._around.child_env, **self._launch.env},
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
            )
        except OSError as error:
            return diagnosis.not_started(self._launch.argv[0], error)
        try:
            return await self._stay_with(child)
        finally:
            self._output.close()

    async def _stay_with(self, child: Child) -> Failure | None:
        assert child.stdout is not None
        assert child.stderr is not None
        async with asyncio.TaskGroup() as group:
            drains = (
                group.create_task(drain(child.stdout, self._take_stdout)),
                group.create_task(drain(child.stderr, self._output.take)),
            )
            watchers = (
                group.create_task(self._report_exit(child)),
                group.create_task(self._look_after(child)),
            )
            try:
                self._owner.on_spawned(child.pid)
                verdict = await self._judge(child)
                if isinstance(verdict, _Exited):
                    await asyncio.wait(drains, timeout=_LAST_WORDS_S)
                    return self._diagnose(verdict)
                return verdict
            finally:
                for task in watchers:
                    task.cancel()
                # Whatever happened, cancellation included, nothing of it stays. Also closes our ends of the
                # pipes, which lets the drains end.
                await stop(child, grace_s=0, asked=True)

    def _diagnose(self, exited: _Exited) -> Failure:
        return diagnosis.diagnose(
            exited.returncode,
            self._output.last_words(),
            platform=self._around.platform,
            loading=not self._ready,
        )

    # --- conclusions -------------------------------------------------------------------------------------

    async def _judge(self, child: Child) -> Failure | _Exited | None:
        """Follow the events until the child is over, one way or the other."""
        while True:
            event = await self._events.get()
            match event:
                case _Exited():
                    return event
                case _StopAsked():
                    await self._end(child)
                    return None
                case _Verified(ours=False):
                    return diagnosis.stranger()
                case _Verified(ours=True):
                    self._ready = True
                    load_s = seconds(self._around.clock.now_ns(), self._spawned_ns)
                    self._owner.on_health(None, memory_bytes(child.pid))
                    self._owner.on_ready(load_s)
                case _Told(progress=float(progress)) if not self._ready:
                    self._owner.on_progress(progress)
                case _Looked():
                    if (failure := await self._judge_look(event, child)) is not None:
                        return failure
                case _Told(state=state):
                    log.debug("state told model=%s state=%s", self._owner.model.id, state)

    async def _judge_look(self, look: _Looked, child: Child) -> Failure | None:
        if look.seen is Health.CLOSED:
            # Its own last words say more, if it is about to have some.
            return None if await child.ends_within(_CLOSING_S) else diagnosis.closed()
        if not self._ready:
            silent_s = seconds(self._around.clock.now_ns(), self._output.last_ns)
            return (
                diagnosis.stalled(self._around.load_stall_s) if silent_s > self._around.load_stall_s else None
            )
        timings = self._around.timings
        self._misses = 0 if look.seen is Health.READY else self._misses + 1
        self._owner.on_health(self._trouble(look.stands), memory_bytes(child.pid))
        if self._misses >= timings.misses_hung:
            return diagnosis.hung(self._misses * timings.health_every_s)
        still_s, fruitless_s = look.stands.still_s, look.stands.fruitless_s
        # Nobody whom it serves gets a token: ending it takes nothing from anybody but the hope.
        if still_s >= 2 * timings.still_s or 0 < self._around.restart_stuck_s <= fruitless_s:
            return diagnosis.stuck(max(still_s, fruitless_s))
        return None

    def _trouble(self, stands: Standstill) -> Trouble | None:
        timings = self._around.timings
        if self._misses >= timings.misses_degraded:
            return Trouble("llama-server runs but does not answer.")
        if stands.still_s >= timings.still_s:
            return Trouble(f"llama-server has got nowhere with a request for {stands.still_s:.0f} s.")
        if stands.fruitless_s >= timings.fruitless_s:
            return diagnosis.fruitless(stands.fruitless_s, restarts=self._around.restart_stuck_s > 0)
        return None

    async def _end(self, child: Child) -> None:
        self._owner.on_stopping()
        grace_s = self._around.stop_grace_s
        if self._ready and self._speaks_protocol and child.stdin is not None:
            # Gone already: then there is nobody to ask, and the waits below return at once.
            with contextlib.suppress(ConnectionError, RuntimeError):
                child.stdin.write(_EXIT_COMMAND)
                # A server only just ready loses one exit request in ten, but not the end of its input.
                child.stdin.close()
            # Other builds may lose both, but no signal after it.
            first_s = min(_FIRST_ASK_S, grace_s / 2)
            if await child.ends_within(first_s):
                return
            grace_s -= first_s
        await stop(child, grace_s=grace_s)

    # --- observers ---------------------------------------------------------------------------------------

    def _take_stdout(self, line: bytes) -> None:
        told = parse_state(line)
        if told is None:
            self._output.take(line)
            return
        state, progress = told
        self._speaks_protocol = True
        self._output.last_ns = self._around.clock.now_ns()
        if state == "ready":
            # /health answers the moment this line is written: no need to wait for the next look.
            self._told_ready = True
            self._nudge.set()
        self._events.put_nowait(_Told(state, progress))

    async def _report_exit(self, child: Child) -> None:
        self._events.put_nowait(_Exited(await child.wait()))

    async def _look_after(self, child: Child) -> None:
        await self._look_until_ready(child)
        timings, work, took_s = self._around.timings, WorkWatch(), 0.0
        while True:
            # A look that waits in vain does not put off the next one.
            await self._pause(max(0.0, timings.health_every_s - took_s))
            began_ns = self._around.clock.now_ns()
            seen = await still_health(
                self._around.http,
                self.url,
                pid=child.pid,
                port=self.port,
                timeout_s=timings.health_timeout_s,
            )
            stands = await self._stands(work, child) if seen is Health.READY else NO_STANDSTILL
            took_s = seconds(self._around.clock.now_ns(), began_ns)
            self._events.put_nowait(_Looked(seen, stands))

    async def _stands(self, work: WorkWatch, child: Child) -> Standstill:
        """How long the child has got nowhere with what it works on, as far as it tells."""
        if "--metrics" not in self._owner.engine.flags:
            return NO_STANDSTILL
        told = await counters(
            self._around.http,
            self.url,
            api_key=self.api_key,
            timeout_s=self._around.timings.health_timeout_s,
        )
        return work.look(self._around.clock.now_ns(), told, cpu_seconds(child.pid))

    async def _look_until_ready(self, child: Child) -> None:
        timings = self._around.timings
        pause_s = timings.poll_first_s
        while True:
            seen = await self._look(child.pid)
            if seen is Health.READY:
                ours = await is_ours(
                    self._around.http,
                    self.url,
                    pid=child.pid,
                    port=self.port,
                    api_key=self.api_key,
                    alias=self._owner.model.id,
                )
                if ours is not None:
                    self._events.put_nowait(_Verified(ours))
                    return
            self._events.put_nowait(_Looked(seen))
            await self._pause(pause_s)
            pause_s = min(pause_s * 1.5, timings.poll_last_s)

    async def _look(self, pid: int) -> Health:
        limit_s = self._around.timings.health_timeout_s
        if not self._told_ready:
            return await health(self._around.http, self.url, timeout_s=limit_s)
        # Its port is open by then, unless somebody else asked it to end in that very moment: it stays then.
        return await still_health(self._around.http, self.url, pid=pid, port=self.port, timeout_s=limit_s)

    async def _pause(self, limit_s: float) -> None:
        """Wait, shorter when the child said that something changed."""
        try:
            async with asyncio.timeout(limit_s):
                await self._nudge.wait()
        except TimeoutError:
            return
        self._nudge.clear()
