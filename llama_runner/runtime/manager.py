"""The one owner of all llama-server children of this process: loads, joins loads, unloads, and ends them all.

Must run on the main thread's loop: on Linux children die with the thread that spawned them.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

import httpx

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import NotFoundError, ServiceError
from llama_runner.core.load_options import NO_OPTIONS, LoadOptions
from llama_runner.core.logtail import model_log
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, ModelsConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.ports import pick_free_port
from llama_runner.runtime.activity import Activity, read_activity
from llama_runner.runtime.advice import warnings_of, workers_warning
from llama_runner.runtime.argv import option_arguments
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile, clean_id
from llama_runner.runtime.engine import EngineInfo
from llama_runner.runtime.footprints import Footprints
from llama_runner.runtime.gpu import GpuMemory, Graphics, NoCards
from llama_runner.runtime.idle import watch_idle
from llama_runner.runtime.instance import (
    Instance,
    InstanceSnapshot,
    InstanceState,
    Surroundings,
    Timings,
)
from llama_runner.runtime.library import ModelLibrary
from llama_runner.runtime.memory import LoadPlan
from llama_runner.runtime.orphans import LaunchMark
from llama_runner.runtime.output import LogFile, OutputRing
from llama_runner.runtime.room import Place, Room
from llama_runner.runtime.shelf import EngineShelf
from llama_runner.runtime.states import ENDED, SERVING, InUse
from llama_runner.runtime.wanted import Wanted
from llama_runner.system.identity import free_memory_bytes

log = logging.getLogger(__name__)

# The current file and one put aside: enough to see what happened, whatever a child wrote before.
_LOG_FILES: Final = 2
_LOADABLE_AGAIN: Final = ENDED | {InstanceState.STOPPING}
_IDLE_WATCH: Final = "idle watch"
_GPU_LOOK: Final = "look at graphics cards"


class RuntimeManager:
    """Loads models of this machine and keeps them running.

    Args:
        config: The settings at the moment of asking.
        models_config: The user's named models at the moment of asking.
        demo: Prefer the demo engine, and offer the demo model.
        free_memory: Bytes of main memory that models can have.
        gpu: This machine's graphics cards.
        pick_port: A free loopback port.
        timings: How often children are looked at.
        notice: Told in a sentence what a person should know.

    Attributes:
        library: The models, and their profiles.
    """

    def __init__(
        self,
        *,
        config: Callable[[], AppConfig],
        models_config: Callable[[], ModelsConfig],
        home: Home,
        http: httpx.AsyncClient,
        clock: Clock,
        demo: bool = False,
        free_memory: Callable[[], int] = free_memory_bytes,
        gpu: GpuMemory | None = None,
        pick_port: Callable[[], int] = pick_free_port,
        timings: Timings | None = None,
        notice: Callable[[str], None] = log.warning,
    ) -> None:
        self._config = config
        self._home = home
        self._http = http
        self._clock = clock
        self.library = ModelLibrary(config=config, models_config=models_config, home=home, demo=demo)
        self._pick_port = pick_port
        self._timings = timings or Timings()
        self._shelf = EngineShelf(config=config, home=home, demo=demo, notice=notice)
        self._notice = notice
        self._mark = LaunchMark(home)
        self._tasks = TaskOwner()
        self._ending: set[asyncio.Task[None]] = set()
        self._instances: dict[str, Instance] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._revision = 0
        self._turn = asyncio.Event()
        self._count = 0
        self._closing = False
        self._graphics = Graphics(gpu or NoCards(), clock)
        self._room = Room(
            instances=lambda: self._instances,
            footprints=Footprints(home.data_dir / "footprints.json"),
            limit_bytes=lambda: self._config().runtime.memory_limit_bytes,
            free_bytes=free_memory,
            graphics=self._graphics,
            unload=self.unload,
        )

    # --- reading -----------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Counts every change of any instance."""
        return self._revision

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """The revision once it is beyond `after`, or as it is when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._revision <= after:
                    await self._turn.wait()
        except TimeoutError:
            log.debug("no change of an instance within %.1f s", timeout_s)
        return self._revision

    async def models(self) -> ModelCatalogue:
        """Every model that can be loaded, and those that cannot with the reason."""
        return replace(await self.library.models(), room_bytes=await self._room.whole_bytes())

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        """Every loaded, loading or failed model, in the order they were loaded.

        What they hold of graphics cards is from the last look; asking has the next one taken.
        """
        self._look_at_cards()
        return tuple(map(self._room.seen, self._instances.values()))

    def instance(self, instance_id: str) -> InstanceSnapshot:
        """One of them, by its id or its model's. Raises NotFoundError."""
        return self._room.seen(self._instance(instance_id))

    def due(self) -> tuple[tuple[str, float], ...]:
        """Instances that leave for want of work: id, and the seconds until then."""
        found = ((one.id, one.due_in_s()) for one in self._instances.values())
        return tuple((instance_id, due_s) for instance_id, due_s in found if due_s is not None)

    def access(self, instance_id: str) -> tuple[str, str]:
        """URL and key of a serving instance. Raises NotFoundError or EngineError."""
        return self._instance(instance_id).access()

    async def activity(self, instance_id: str) -> Activity:
        """What an instance is doing, asked now. Raises NotFoundError, EngineError when it does not serve."""
        url, api_key = self.access(instance_id)
        return await read_activity(self._http, url, api_key)

    async def plan(
        self, model_id: str, options: LoadOptions = NO_OPTIONS, *, profile: str | None = None
    ) -> LoadPlan:
        """What loading would take, and what would leave for it. Nothing is done.

        Raises as `load`, but for an engine that is not there: all else can be told without one.
        """
        wanted = await self.library.wanted(model_id, options, profile)
        command, missing = await self._shelf.command(wanted)
        place = await self._room.plan(wanted)
        known = self._of_model(model_id)
        loaded = known is not None and known.state not in ENDED and not known.leaving
        return replace(
            place.as_plan(loaded=loaded), command=command, warnings=(*missing, *warnings_of(place))
        )

    def log_lines(self, instance_id: str, after: int) -> tuple[tuple[str, ...], int]:
        """Output lines behind number `after` (0: all kept ones), and the number to ask with next time."""
        return self._instance(instance_id).ring.after(after)

    # --- changing ----------------------------------------------------------------------------------------

    async def load(
        self,
        model_id: str,
        options: LoadOptions = NO_OPTIONS,
        *,
        profile: str | None = None,
        reload: bool = False,
    ) -> InstanceSnapshot:
        """Start loading and return at once; a model that is loading or loaded is joined as it is.

        Args:
            options: Count before those of the profile.
            profile: By name; None for the model's default, an empty text for none.
            reload: One that is loaded with other options finishes its work and is loaded anew.

        Raises:
            NotFoundError: There is no such model, profile, file or engine.
            ModelFileError: A file is not usable.
            EngineError: There is no usable llama-server.
            UsageError: An option is out of bounds, or unknown to the engine.
        """
        return self._room.seen(await self._load(model_id, options, profile=profile, reload=reload))

    async def ensure_ready(self, model_id: str, options: LoadOptions = NO_OPTIONS) -> InstanceSnapshot:
        """Load if necessary, wait until the model serves. Raises as `load`, and EngineError when it fails.

        A model that failed is not tried again here: that takes a `load`, so that a stream of requests for a
        broken model does not become a stream of starts.
        """
        known = self._of_model(model_id)
        if known is not None and known.state is InstanceState.FAILED:
            raise known.failure()
        return await (await self._load(model_id, options)).ready()

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[InUse]:
        """Have a model ready for the length of the block, counted as in flight. Raises as `ensure_ready`.

        A child that went away between being ready and being used is waited for like a load.
        """
        began_ns = self._clock.now_ns()
        known = self._of_model(model_id)
        if known is not None and known.state is InstanceState.FAILED:
            raise known.failure()
        serving = known is not None and known.state in SERVING and not known.leaving
        instance = known if serving and known is not None else await self._load(model_id, on_demand=True)
        # Counted from here on: a model that somebody waits for is not sent away before it has answered.
        with instance.used():
            await instance.ready()
            url, api_key = instance.access()
            yield InUse(url, api_key, 0.0 if serving else seconds(self._clock.now_ns(), began_ns))

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """How long a loaded model stays without work.

        Args:
            idle_s: Infinity for ever; None for what it was loaded with.
        """
        instance = self._of_model(model_id)
        if instance is not None:
            limit_s = instance.usual_idle_limit_s if idle_s is None else idle_s
            limit_s = None if limit_s == math.inf else limit_s
            # Said with every request; mostly it is as it was.
            if limit_s != instance.idle_limit_s:
                instance.idle_limit_s = limit_s
                self._announce()

    def pin(self, instance_id: str, pinned: bool) -> InstanceSnapshot:
        """Keep an instance whatever else wants room, or let it go again. Raises NotFoundError."""
        instance = self._instance(instance_id)
        instance.pin(pinned)
        return self._room.seen(instance)

    async def unload(self, instance_id: str) -> None:
        """Stop an instance and forget it; returns when its process is gone. Raises NotFoundError.

        What it works on may end within the time to stop; asked twice, it does not wait.
        """
        instance = self._instance(instance_id)
        if instance.state in SERVING and not instance.leaving:
            await instance.drained(self._config().runtime.stop_grace_s)
        await self._end(instance)

    async def close(self) -> None:
        """Stop everything, gracefully; when cancelled, kill what is left. Idempotent."""
        self._closing = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._tasks.close)
            for instance in self._instances.values():
                instance.request_stop()
            for instance in tuple(self._instances.values()):
                await instance.ended()
                self._forget(instance)
            # Whoever waits for one of them gets its answer.
            await asyncio.gather(*self._ending, return_exceptions=True)
        self._mark.clear()

    # --- within ------------------------------------------------------------------------------------------

    async def _load(
        self,
        model_id: str,
        options: LoadOptions = NO_OPTIONS,
        *,
        profile: str | None = None,
        reload: bool = False,
        on_demand: bool = False,
    ) -> Instance:
        # One decision at a time per model: two callers get one child.
        async with self._locks.setdefault(clean_id(model_id), asyncio.Lock()):
            current = self._of_model(model_id)
            ending = current is not None and (current.state in _LOADABLE_AGAIN or current.leaving)
            if current is not None and ending:
                ending = await current.left()
            as_it_is = profile is None and options == NO_OPTIONS and not reload
            if current is not None and not ending and as_it_is:
                return current
            # What cannot be is said also to who joins a model that is loaded in another way.
            wanted = await self.library.wanted(model_id, options, profile)
            if current is not None and not ending:
                if not reload or self._room.has(current, wanted):
                    return current
                # Who works with it finishes; who asks for it from here on waits for the new one.
                await current.drained()
            if current is not None:
                await self._end(current)
            instance = await self._start(wanted, on_demand=on_demand)
            if reload and current is not None:
                instance.pin(current.snapshot().pinned)
            return instance

    async def _start(self, wanted: Wanted, *, on_demand: bool) -> Instance:
        config = self._config()
        engine = await self._shelf.engine_for(wanted)
        # Said to whoever asks, before anything else has to leave for it.
        option_arguments(wanted.options, engine.flags, engine=engine.path.name)
        async with self._room.lock:
            place = await self._room.make(wanted)
            # Asked after the last await: `close` may have begun meanwhile, and would not know this instance.
            if self._closing:
                raise ServiceError("The service is ending and loads nothing any more.", "Start it again.")
            return self._born(place, engine, config, on_demand=on_demand)

    def _born(self, place: Place, engine: EngineInfo, config: AppConfig, *, on_demand: bool) -> Instance:
        self._count += 1
        model = place.wanted.model
        instance = Instance(
            instance_id=f"i{self._count}",
            model=model,
            engine=engine,
            options=place.wanted.options,
            around=self._surroundings(config),
            ring=OutputRing(config.runtime.log_ring_bytes),
            log_file=self._log_file(config, model),
            changed=self._announce,
        )
        if on_demand and (idle_s := config.runtime.idle_unload_s):
            instance.idle_limit_s = instance.usual_idle_limit_s = idle_s
        self._instances[instance.id] = instance
        self._room.admit(instance.id, place)
        if _IDLE_WATCH not in self._tasks.running:
            self._tasks.start(watch_idle(self), name=_IDLE_WATCH)
        self._tasks.start(instance.run(), name=f"instance {instance.id} {model.id}")
        # Beside the load: reading all of a large program takes a while.
        self._tasks.start(self._shelf.note(engine), name=f"note engine of {instance.id}")
        log.info("loading model=%s engine=%s", model.id, engine.path)
        if told := workers_warning(place.wanted):
            self._notice(f"{model.id} is spread over other machines. {told}")
        self._announce()
        return instance

    async def _end(self, instance: Instance) -> None:
        """Stop an instance that nobody uses any more, and forget it.

        Goes on to its end whoever waits for it and is cancelled: halfway, it would leave for ever.
        """
        ending = self._tasks.start(self._stopped_and_forgotten(instance), name=f"end of {instance.id}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _stopped_and_forgotten(self, instance: Instance) -> None:
        # While it still holds them.
        await self._room.look()
        instance.request_stop()
        await instance.ended()
        await self._learn(instance)
        self._forget(instance)

    async def _learn(self, instance: Instance) -> None:
        """Remember what it took, for the next time."""
        write = self._room.learn(instance)
        if write is not None:
            await asyncio.to_thread(write)

    def _surroundings(self, config: AppConfig) -> Surroundings:
        return Surroundings(
            http=self._http,
            clock=self._clock,
            environ=os.environ,
            pick_port=self._pick_port,
            stop_grace_s=config.runtime.stop_grace_s,
            load_stall_s=config.runtime.load_stall_s,
            restart_stuck_s=config.runtime.restart_stuck_s,
            timings=self._timings,
            child_env=self._mark.environment(),
        )

    def _log_file(self, config: AppConfig, model: ModelFile) -> LogFile:
        return LogFile(
            model_log(self._home, model.id),
            max_bytes=config.logging.file_max_bytes,
            file_count=_LOG_FILES,
            clock=self._clock,
        )

    def _look_at_cards(self) -> None:
        if self._instances and self._graphics.due and _GPU_LOOK not in self._tasks.running:
            self._tasks.start(self._room.look(), name=_GPU_LOOK)

    def _of_model(self, model_id: str) -> Instance | None:
        return next((one for one in self._instances.values() if one.model.id == model_id), None)

    def _instance(self, instance_id: str) -> Instance:
        instance = self._instances.get(instance_id) or self._of_model(instance_id)
        if instance is None:
            raise NotFoundError(
                f"There is no loaded model {instance_id[:80]}.", "See `ps` for what is loaded."
            )
        return instance

    def _forget(self, instance: Instance) -> None:
        if self._instances.pop(instance.id, None) is not None:
            self._room.forget(instance.id)
            self._announce()

    def _announce(self) -> None:
        self._revision += 1
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()
