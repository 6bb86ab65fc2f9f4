"""The models of this machine with what a person wrote down about them: found, resolved, profiles kept."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from llama_runner.core.config import Loaded
from llama_runner.core.errors import ConfigError, LlamaRunnerError
from llama_runner.core.load_options import NO_OPTIONS, LoadOptions
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, ModelsConfig
from llama_runner.runtime import profiles
from llama_runner.runtime.catalogue import (
    ModelCatalogue,
    ModelFile,
    choose_model,
    find_models,
    header_cache,
    models_folder,
)
from llama_runner.runtime.engines import engine_name
from llama_runner.runtime.pairing import Companion
from llama_runner.runtime.profiles import ModelProfiles, entry_of, profiles_of
from llama_runner.runtime.wanted import Surrounding, Wanted, choose_profile, chosen_projector, resolve
from llama_runner.system.config_changes import update_models_config


class ModelLibrary:
    """Reads headers and configuration off the event loop.

    Args:
        config: The settings at the moment of asking.
        models_config: The user's named models at the moment of asking.
        demo: Offer the demo model too.
    """

    def __init__(
        self,
        *,
        config: Callable[[], AppConfig],
        models_config: Callable[[], ModelsConfig],
        home: Home,
        demo: bool,
    ) -> None:
        self._config = config
        self._models_config = models_config
        self._home = home
        self._demo = demo
        self._headers = header_cache(home)

    async def models(self) -> ModelCatalogue:
        """Every model that can be loaded, and those that cannot with the reason."""
        return await asyncio.to_thread(self._find)

    async def wanted(
        self, model_id: str, options: LoadOptions = NO_OPTIONS, profile: str | None = None
    ) -> Wanted:
        """One way to load a model, every name resolved. Raises as `choose_model` and `resolve`."""
        return await asyncio.to_thread(self._wanted, model_id, options, profile)

    async def profiles(self, model_id: str) -> ModelProfiles:
        """What is written down about a model. Raises NotFoundError, ModelFileError."""
        model = choose_model(await self.models(), model_id)
        return self._profiles(self._models_config(), model)

    async def save_profile(self, model_id: str, name: str, options: LoadOptions) -> ModelProfiles:
        """Add or replace a profile.

        Raises:
            NotFoundError, ModelFileError: There is no such model, or it is unusable.
            UsageError: The name is none.
            ConfigError: The file cannot be changed: it is broken, or of a newer version.
        """
        return await self._change(
            model_id, lambda config, model: profiles.with_profile(config, model, self._root, name, options)
        )

    async def remove_profile(self, model_id: str, name: str) -> ModelProfiles:
        """Forget a profile. Raises as `save_profile`."""
        return await self._change(
            model_id, lambda config, model: profiles.without_profile(config, model, self._root, name)
        )

    async def set_default_profile(self, model_id: str, name: str | None) -> ModelProfiles:
        """Which profile counts when none is named; None for none. Raises as `save_profile`."""
        return await self._change(
            model_id, lambda config, model: profiles.with_default_profile(config, model, self._root, name)
        )

    # --- within ------------------------------------------------------------------------------------------

    @property
    def _root(self) -> Path:
        return models_folder(self._config().runtime, self._home)

    def _profiles(self, config: ModelsConfig, model: ModelFile) -> ModelProfiles:
        found = entry_of(config, model, self._root)
        return profiles_of(model, found[1] if found else None)

    async def _change(
        self, model_id: str, change: Callable[[ModelsConfig, ModelFile], ModelsConfig]
    ) -> ModelProfiles:
        model = choose_model(await self.models(), model_id)

        def changed(loaded: Loaded[ModelsConfig]) -> ModelsConfig:
            if loaded.unusable:
                raise ConfigError(
                    loaded.problems[0].message, f"Mend it first; nothing was saved. {loaded.problems[0].hint}"
                )
            return change(loaded.value, model)

        config = await asyncio.to_thread(update_models_config, self._home, changed)
        return self._profiles(config, model)

    def _wanted(self, model_id: str, options: LoadOptions, profile: str | None) -> Wanted:
        catalogue = self._find()
        model = choose_model(catalogue, model_id)
        found = entry_of(self._models_config(), model, self._root)
        around = Surrounding(
            catalogue=catalogue,
            folders=(self._root,),
            workers=self._config().runtime.rpc_workers,
            entry=found[1] if found else None,
        )
        wanted = resolve(model, options, profile, around)
        return replace(wanted, engine=engine_name(self._config().runtime, wanted.options, demo=self._demo))

    def _find(self) -> ModelCatalogue:
        config, named = self._config(), self._models_config()

        def look(*, include_demo: bool) -> ModelCatalogue:
            return find_models(config, named, self._home, include_demo=include_demo, headers=self._headers)

        found = look(include_demo=self._demo)
        if not found.models and not self._demo:
            # Nothing of the user's own: better the demo model, where it is installed, than an empty list.
            found = look(include_demo=True)
        return replace(found, models=tuple(self._as_served(named, model) for model in found.models))

    def _as_served(self, config: ModelsConfig, model: ModelFile) -> ModelFile:
        """The model with what it can do as it is loaded when nobody says otherwise."""
        if model.header is None:
            return model
        found = entry_of(config, model, self._root) if model.origin == "configured" else None
        _, profile = choose_profile(model, found[1] if found else None, None)
        chosen = model.parameters.model_copy(update=profile.model_dump(exclude_none=True))
        model = self._seeing(model, chosen)
        runtime = self._config().runtime
        engine = runtime.engines.get(engine_name(runtime, chosen, demo=self._demo))
        if engine is None or engine.supports_tools is not False:
            return model
        return with_capabilities(model, leave_out=("tools",))

    def _seeing(self, model: ModelFile, chosen: LoadOptions) -> ModelFile:
        """The model with the projector that its options choose, where they choose one."""
        own = model.projector
        if chosen.projector is None or (own is not None and chosen.projector == str(own.path)):
            return model
        blind = with_capabilities(model, leave_out=own.header.capabilities if own else ())
        blind = replace(blind, projector=None)
        if chosen.projector == "none":
            return blind
        around = Surrounding(catalogue=ModelCatalogue(()), folders=(self._root,))
        try:
            path = chosen_projector(chosen, model, around)
            other = Companion(path, self._headers.read(path)) if path is not None else None
        except LlamaRunnerError:
            # Said when it is loaded.
            return blind
        if other is None:
            return blind
        return replace(with_capabilities(blind, add=other.header.capabilities), projector=other)


def with_capabilities(
    model: ModelFile, *, add: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> ModelFile:
    """The model with more or less that it can do; one whose header is not known can do nothing anyway."""
    if model.header is None:
        return model
    kept = [one for one in model.header.capabilities if one not in leave_out]
    return replace(model, header=replace(model.header, capabilities=tuple(dict.fromkeys([*kept, *add]))))
