"""The calls about profiles, engines and what instances are doing. Decides nothing by itself."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from llama_runner.control.serving import (
    DefaultWish,
    EngineList,
    InstanceActivity,
    Profile,
    ProfileList,
)
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.activity import Activity
from llama_runner.runtime.profiles import ModelProfiles, profile_named
from llama_runner.runtime.states import InstanceSnapshot
from llama_runner.service.endpoints import Call, Endpoint


class Profiles(Protocol):
    """What the API asks of the library of models."""

    async def profiles(self, model_id: str) -> ModelProfiles:
        """What is written down about a model."""
        ...

    async def save_profile(self, model_id: str, name: str, options: LoadOptions) -> ModelProfiles:
        """Add or replace a profile."""
        ...

    async def remove_profile(self, model_id: str, name: str) -> ModelProfiles:
        """Forget a profile."""
        ...

    async def set_default_profile(self, model_id: str, name: str | None) -> ModelProfiles:
        """Which profile counts when none is named."""
        ...


class Serving(Protocol):
    """What the API asks of the runtime manager."""

    def instance(self, instance_id: str) -> InstanceSnapshot:
        """One instance, by its id or its model's."""
        ...

    async def activity(self, instance_id: str) -> Activity:
        """What an instance is doing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingApi:
    """Calls about profiles, engines and activity.

    Attributes:
        engines: What there is to choose from now.
    """

    manager: Serving
    library: Profiles
    engines: Callable[[], Awaitable[EngineList]]

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What may be asked."""
        return (
            Endpoint(
                method="GET",
                path="/models/{id}/profiles",
                summary="The ways to load a model that a person gave names to.",
                handle=self._profiles,
                answer=ProfileList,
            ),
            Endpoint(
                method="GET",
                path="/models/{id}/profiles/{name}",
                summary="One profile of a model.",
                handle=self._profile,
                answer=Profile,
            ),
            Endpoint(
                method="PUT",
                path="/models/{id}/profiles/{name}",
                summary="Add or replace a profile of a model.",
                handle=self._save,
                body=Profile,
                answer=ProfileList,
            ),
            Endpoint(
                method="DELETE",
                path="/models/{id}/profiles/{name}",
                summary="Forget a profile of a model.",
                handle=self._remove,
                answer=ProfileList,
            ),
            Endpoint(
                method="PUT",
                path="/models/{id}/default-profile",
                summary="Choose the profile that counts when none is named, or none.",
                handle=self._set_default,
                body=DefaultWish,
                answer=ProfileList,
            ),
            Endpoint(
                method="GET",
                path="/engines",
                summary="Every engine there is to choose from, and what each can do.",
                handle=self._engines,
                answer=EngineList,
            ),
            Endpoint(
                method="GET",
                path="/instances/{id}/activity",
                summary="Slots and speeds of an instance, asked of its engine now.",
                handle=self._activity,
                answer=InstanceActivity,
            ),
        )

    async def _profiles(self, call: Call) -> ProfileList:
        return profiles_view(await self.library.profiles(call.path["id"]))

    async def _profile(self, call: Call) -> Profile:
        found = await self.library.profiles(call.path["id"])
        return Profile(profile_named(found, call.path["name"]))

    async def _save(self, call: Call) -> ProfileList:
        saved = await self.library.save_profile(call.path["id"], call.path["name"], call.body.options)
        return profiles_view(saved)

    async def _remove(self, call: Call) -> ProfileList:
        return profiles_view(await self.library.remove_profile(call.path["id"], call.path["name"]))

    async def _set_default(self, call: Call) -> ProfileList:
        return profiles_view(await self.library.set_default_profile(call.path["id"], call.body.profile))

    async def _engines(self, call: Call) -> EngineList:
        return await self.engines()

    async def _activity(self, call: Call) -> InstanceActivity:
        instance = self.manager.instance(call.path["id"])
        return activity_view(instance, await self.manager.activity(instance.id))


def profiles_view(found: ModelProfiles) -> ProfileList:
    """A model's profiles."""
    return ProfileList(found.model_id, found.default, dict(found.profiles), found.parameters)


def activity_view(instance: InstanceSnapshot, activity: Activity) -> InstanceActivity:
    """What an instance is doing, its mean speeds included."""
    return InstanceActivity(
        id=instance.id,
        model=instance.model_id,
        prompt_tps=activity.prompt_tps,
        decode_tps=activity.decode_tps,
        **asdict(activity),
    )
