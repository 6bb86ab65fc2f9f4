"""The one owner of all llama-server children of this process: loads, joins loads, unloads, and ends them all.

Must run on the main thread's loop: on Linux children die with the thread that spawned them.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.errors import NotFoundError, ServiceError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, ModelsConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.ports import pick_free_port
from llama_runner.runtime.argv import option_arguments, wanted_options
from llama_runner.runtime.catalogue import (
    ModelCatalogue,
    ModelFile,
    choose_model,
    clean_id,
    find_models,
    header_cache,
)
from llama_runner.runtime.engine import EngineInfo, EngineProbes, find_engine
from llama_runner.runtime.footprints import Footprints
from llama_runner.runtime.idle import watch_idle
from llama_runner.runtime.instance import (
    Instance,
    InstanceSnapshot,
    InstanceState,
    Surroundings,
    Timings,
)
from llama_runner.runtime.memory import LoadPlan
from llama_runner.runtime.orphans import LaunchMark
from llama_runner.runtime.output import LogFile, OutputRing
from llama_runner.runtime.room import Room
from llama_runner.runtime.states import ENDED, SERVING, InUse
from llama_runner.system.identity import free_memory_bytes

log = logging.getLogger(__name__)

# The current file and one put aside: enough to see what happened, whatever a child wrote before.
_LOG_FILES: Final = 2
_LOADABLE_AGAIN: Final = ENDED | {InstanceState.STOPPING}
_NO_OPTIONS: Final = LoadOptions()
_IDLE_WATCH: Final = "idle watch"


class RuntimeManager:
    """Loads models of this machine and keeps them running.

    Args:
        config: The settings at the moment of asking.
        models_config: The user's named models at the moment of asking.
        demo: Prefer the demo engine, and offer the demo model.
        free_memory: Bytes that models can have, on this machine and its graphics cards.
        pick_port: A free loopback port.
        timings: How often children are looked at.
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
        pick_port: Callable[[], int] = pick_free_port,
        timings: Timings | None = None,
    ) -> None:
        self._config = config
        self._models_config = models_config
        self._home = home
        self._http = http
        self._clock = clock
        self._demo = demo
        self._pick_port = pick_port
        self._timings = timings or Timings()
        self._headers = header_cache(home)
        self._engines = EngineProbes()
        self._mark = LaunchMark(home)
        self._tasks = TaskOwner()
        self._instances: dict[str, Instance] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._revision = 0
        self._turn = asyncio.Event()
        self._count = 0
        self._closing = False
        self._room = Room(
            instances=lambda: self._instances,
            footprints=Footprints(home.data_dir / "footprints.json"),
            limit_bytes=lambda: self._config().runtime.memory_limit_bytes,
            free_bytes=free_memory,
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
        return await asyncio.to_thread(self._find_models)

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        """Every loaded, loading or failed model, in the order they were loaded."""
        return tuple(instance.snapshot() for instance in self._instances.values())

    def due(self) -> tuple[tuple[str, float], ...]:
        """Instances that leave for want of work: id, and the seconds until then."""
        found = ((one.id, one.due_in_s()) for one in self._instances.values())
        return tuple((instance_id, due_s) for instance_id, due_s in found if due_s is not None)

    def access(self, instance_id: str) -> tuple[str, str]:
        """URL and key of a serving instance. Raises NotFoundError or EngineError."""
        return self._instance(instance_id).access()

    async def plan(self, model_id: str, options: LoadOptions = _NO_OPTIONS) -> LoadPlan:
        """What loading would take, and what would leave for it. Raises as `load`; nothing is done."""
        model = choose_model(await self.models(), model_id)
        wanted = wanted_options(options, model)
        known = self._of_model(model_id)
        loaded = known is not None and known.state not in ENDED and not known.leaving
        return LoadPlan(
            model_id=model.id,
            need=self._room.need(model, wanted),
            room=self._room.plan(model, wanted),
            load_s=self._room.expected_load_s(model, wanted),
            loaded=loaded,
        )

    def log_lines(self, instance_id: str, after: int) -> tuple[tuple[str, ...], int]:
        """Output lines behind number `after` (0: all kept ones), and the number to ask with next time."""
        return self._instance(instance_id).ring.after(after)

    # --- changing ----------------------------------------------------------------------------------------

    async def load(self, model_id: str, options: LoadOptions = _NO_OPTIONS) -> InstanceSnapshot:
        """Start loading and return at once; a model that is loading or loaded is joined as it is.

        Raises:
            NotFoundError: There is no such model.
            ModelFileError: Its file is not usable.
            EngineError: There is no usable llama-server.
            UsageError: An option is out of bounds.
        """
        return (await self._load(model_id, options)).snapshot()

    async def ensure_ready(self, model_id: str, options: LoadOptions = _NO_OPTIONS) -> InstanceSnapshot:
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
        return instance.snapshot()

    async def unload(self, instance_id: str) -> None:
        """Stop an instance and forget it; returns when its process is gone. Raises NotFoundError."""
        instance = self._instance(instance_id)
        instance.request_stop()
        await instance.ended()
        await self._learn(instance)
        self._forget(instance)

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
        self._mark.clear()

    # --- within ------------------------------------------------------------------------------------------

    async def _load(
        self, model_id: str, options: LoadOptions = _NO_OPTIONS, *, on_demand: bool = False
    ) -> Instance:
        # One decision at a time per model: two callers get one child.
        async with self._locks.setdefault(clean_id(model_id), asyncio.Lock()):
            current = self._of_model(model_id)
            ending = current is not None and (current.state in _LOADABLE_AGAIN or current.leaving)
            if current is not None and not ending:
                return current
            if current is not None:
                await current.ended()
                self._forget(current)
            return await self._start(model_id, options, on_demand=on_demand)

    async def _start(self, model_id: str, options: LoadOptions, *, on_demand: bool) -> Instance:
        model = choose_model(await self.models(), model_id)
        wanted = wanted_options(options, model)
        config = self._config()
        choice = await asyncio.to_thread(find_engine, config.runtime, demo=self._demo)
        engine = await self._engines.info(choice.path)
        # Said to whoever asks, before anything else has to leave for it.
        option_arguments(wanted, engine.flags, engine=engine.path.name)
        async with self._room.lock:
            await self._room.make(model, wanted)
            # Asked after the last await: `close` may have begun meanwhile, and would not know this instance.
            if self._closing:
                raise ServiceError("The service is ending and loads nothing any more.", "Start it again.")
            return self._born(model, wanted, engine, config, on_demand=on_demand)

    def _born(
        self,
        model: ModelFile,
        wanted: LoadOptions,
        engine: EngineInfo,
        config: AppConfig,
        *,
        on_demand: bool,
    ) -> Instance:
        self._count += 1
        instance = Instance(
            instance_id=f"i{self._count}",
            model=model,
            engine=engine,
            options=wanted,
            around=self._surroundings(config),
            ring=OutputRing(config.runtime.log_ring_bytes),
            log_file=self._log_file(config, model),
            changed=self._announce,
        )
        if on_demand and (idle_s := config.runtime.idle_unload_s):
            instance.idle_limit_s = instance.usual_idle_limit_s = idle_s
        self._instances[instance.id] = instance
        if _IDLE_WATCH not in self._tasks.running:
            self._tasks.start(watch_idle(self), name=_IDLE_WATCH)
        self._tasks.start(instance.run(), name=f"instance {instance.id} {model.id}")
        log.info("loading model=%s engine=%s", model.id, engine.path)
        self._announce()
        return instance

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
            timings=self._timings,
            child_env=self._mark.environment(),
        )

    def _log_file(self, config: AppConfig, model: ModelFile) -> LogFile:
        return LogFile(
            self._home.logs_dir / f"model-{model.id}.log",
            max_bytes=config.logging.file_max_bytes,
            file_count=_LOG_FILES,
            clock=self._clock,
        )

    def _find_models(self) -> ModelCatalogue:
        config, named = self._config(), self._models_config()
        found = find_models(config, named, self._home, include_demo=self._demo, headers=self._headers)
        if found.models or self._demo:
            return found
        # Nothing of the user's own: better the demo model, where it is installed, than an empty list.
        return find_models(config, named, self._home, include_demo=True, headers=self._headers)

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
            self._announce()

    def _announce(self) -> None:
        self._revision += 1
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()
