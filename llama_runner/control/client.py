"""The control API as typed calls. No policy: finding and starting the service is the launcher's job."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from llama_runner.control.routes import Route, RouteList
from llama_runner.control.runfile import AlreadyRunningError
from llama_runner.control.serving import (
    DefaultWish,
    EngineList,
    InstanceActivity,
    Profile,
    ProfileList,
)
from llama_runner.control.settings import SettingsChange, SettingsChanged, SettingsState
from llama_runner.control.values import (
    API_PREFIX,
    MAX_WAIT_S,
    Access,
    EngineInfo,
    Health,
    Instance,
    InstanceList,
    KeepRequest,
    LoadRequest,
    LogChunk,
    LoginLink,
    ModelList,
    PinRequest,
    Plan,
    Released,
    RequestList,
    parse_answer,
    to_json,
)
from llama_runner.core import errors
from llama_runner.core.load_options import LoadOptions
from llama_runner.net.errors import translate_errors

T = TypeVar("T")

# The service is on this machine: what takes longer than this to connect is not listening.
CONNECT_TIMEOUT_S: Final = 2.0
# Listing models may read the headers of hundreds of files on a slow disk.
ANSWER_TIMEOUT_S: Final = 30.0
# Letting go happens when the program ends: a service that hangs must not hold it up.
RELEASE_TIMEOUT_S: Final = 5.0
# Given without any work; a service that takes longer hangs, and whoever looks for one must not hang with it.
LEASE_TIMEOUT_S: Final = 5.0
# Others finish what they work on before they leave for a model.
ROOM_TIMEOUT_S: Final = 3600.0
# The longest grace that the settings allow, and a margin.
UNLOAD_TIMEOUT_S: Final = 130.0
# All servers of a route are asked at once; each answers a list within ten seconds, or not at all.
TEST_TIMEOUT_S: Final = 30.0
# Beyond the time a waiting request asked for.
WAIT_MARGIN_S: Final = 10.0

_KINDS: Final[dict[str, type[errors.LlamaRunnerError]]] = {
    kind.kind: kind
    for kind in (
        errors.UsageError,
        errors.ConfigError,
        errors.StorageError,
        errors.ServerError,
        errors.UnreachableError,
        errors.RefusedError,
        errors.NotFoundError,
        errors.OverloadedError,
        errors.InvalidRequestError,
        errors.EngineError,
        errors.ModelFileError,
        errors.PortInUseError,
        errors.ServiceError,
        AlreadyRunningError,
    )
}


class ControlClient:
    """One service, asked through its control API.

    Args:
        url: Base URL of the control API.
        token: From the run file.
        http: From the client factory; stays open, its owner closes it.
    """

    def __init__(self, *, url: str, token: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http

    async def health(self) -> Health:
        """How the service is doing."""
        return await self._get(Health, "health")

    async def models(self) -> ModelList:
        """Every model file it can load."""
        return await self._get(ModelList, "models")

    async def instances(self, *, after: int | None = None, wait_s: float = 0.0) -> InstanceList:
        """Every instance; with `after`, as soon as the revision is beyond it or `wait_s` is over."""
        wait_s = min(wait_s, MAX_WAIT_S)
        query = "" if after is None else f"?after={after}&wait_s={wait_s:g}"
        return await self._get(InstanceList, f"instances{query}", timeout_s=wait_s + WAIT_MARGIN_S)

    async def load(
        self,
        model: str,
        options: LoadOptions | None = None,
        *,
        profile: str | None = None,
        reload: bool = False,
    ) -> Instance:
        """Start loading `model`; it is still starting when this returns. A second load joins the first.

        Args:
            profile: By name; None for the model's default, an empty text for none.
            reload: One that is loaded in another way finishes its work and is loaded anew.
        """
        body = LoadRequest(model, options or LoadOptions(), profile, reload)
        return await self._ask(Instance, "POST", "instances", body=to_json(body), timeout_s=ROOM_TIMEOUT_S)

    async def plan(
        self, model: str, options: LoadOptions | None = None, *, profile: str | None = None
    ) -> Plan:
        """What loading would mean now; nothing is done."""
        body = LoadRequest(model, options or LoadOptions(), profile)
        return await self._ask(Plan, "POST", "plan", body=to_json(body))

    async def pin(self, instance_id: str, pinned: bool) -> Instance:
        """Keep an instance in memory whatever else wants room, or let it go again."""
        path = f"instances/{quote(instance_id, safe='')}"
        return await self._ask(Instance, "PATCH", path, body=to_json(PinRequest(pinned)))

    async def requests(self) -> RequestList:
        """The newest requests through the proxy."""
        return await self._get(RequestList, "requests")

    async def routes(self) -> RouteList:
        """Names that programs may ask for, and where each leads."""
        return await self._get(RouteList, "routes")

    async def test_route(self, name: str) -> Route:
        """A route, each of its steps asked whether it could answer."""
        return await self._ask(Route, "POST", f"routes/{quote(name, safe='')}/test", timeout_s=TEST_TIMEOUT_S)

    async def reload(self) -> Health:
        """Have the settings looked at again, and what is not as they say tried again."""
        content = await self._request("POST", "reload", body={})
        return parse_answer(Health, content, endpoint=f"{API_PREFIX}/reload")

    async def unload(self, instance_id: str) -> None:
        """Stop an instance and wait until it is gone."""
        path = f"instances/{quote(instance_id, safe='')}"
        await self._request("DELETE", path, timeout_s=UNLOAD_TIMEOUT_S)

    async def access(self, instance_id: str) -> Access:
        """Where the instance answers, and its key."""
        return await self._get(Access, f"instances/{quote(instance_id, safe='')}/access")

    async def log(self, instance_id: str, *, after: int = 0) -> LogChunk:
        """Output of the instance behind line number `after`, as far as it is still kept."""
        return await self._get(LogChunk, f"instances/{quote(instance_id, safe='')}/log?after={after}")

    async def engine(self) -> EngineInfo:
        """The llama-server the service would start."""
        return await self._get(EngineInfo, "engine")

    async def engines(self) -> EngineList:
        """Every engine there is to choose from, and what each can do."""
        return await self._get(EngineList, "engines")

    async def profiles(self, model: str) -> ProfileList:
        """The ways to load a model that a person gave names to."""
        return await self._get(ProfileList, f"models/{quote(model, safe='')}/profiles")

    async def profile(self, model: str, name: str) -> Profile:
        """One of them."""
        return await self._get(Profile, f"models/{quote(model, safe='')}/profiles/{quote(name, safe='')}")

    async def save_profile(self, model: str, name: str, options: LoadOptions) -> ProfileList:
        """Add or replace a profile."""
        path = f"models/{quote(model, safe='')}/profiles/{quote(name, safe='')}"
        return await self._ask(ProfileList, "PUT", path, body=to_json(Profile(options)))

    async def remove_profile(self, model: str, name: str) -> ProfileList:
        """Forget a profile."""
        path = f"models/{quote(model, safe='')}/profiles/{quote(name, safe='')}"
        return await self._ask(ProfileList, "DELETE", path)

    async def set_default_profile(self, model: str, name: str | None) -> ProfileList:
        """Choose the profile that counts when none is named; None for none."""
        path = f"models/{quote(model, safe='')}/default-profile"
        return await self._ask(ProfileList, "PUT", path, body=to_json(DefaultWish(name)))

    async def activity(self, instance_id: str) -> InstanceActivity:
        """Slots and speeds of an instance, asked of its engine now."""
        return await self._get(InstanceActivity, f"instances/{quote(instance_id, safe='')}/activity")

    async def settings(self) -> SettingsState:
        """The settings the service works with, and what is wrong in their files."""
        return await self._get(SettingsState, "settings")

    async def change_settings(self, changes: Mapping[str, Any]) -> SettingsChanged:
        """Give settings new values by dotted name: all of them or none."""
        return await self._ask(SettingsChanged, "PATCH", "settings", body=to_json(SettingsChange(changes)))

    async def service_log(self, *, after: int | None = None) -> LogChunk:
        """The end of the program's log, or what was written behind position `after`."""
        return await self._get(LogChunk, "logs" if after is None else f"logs?after={after}")

    async def login_link(self) -> LoginLink:
        """A link that lets one browser in, once."""
        return await self._ask(LoginLink, "POST", "login-links")

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[None]:
        """Rely on a service that somebody else owns: it does not end with its owner inside the block.

        Raises:
            ServiceError: It is ending already.
            UnreachableError: It does not answer.
        """
        async with aclosing(await self._open_lease()):
            yield

    async def _open_lease(self) -> httpx.Response:
        """The answer that lasts; only its head is waited for, and not for ever."""
        request = self._http.build_request(
            "GET",
            f"{self.url}{API_PREFIX}/lease",
            headers=self._headers,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
        )
        with translate_errors(self.url):
            async with asyncio.timeout(LEASE_TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                if not response.is_error:
                    return response
                async with aclosing(response):
                    content = await response.aread()
        raise error_in(content) or errors.ServiceError("The service cannot be relied on.", "See its log.")

    async def release(self) -> bool:
        """Let go of a service we own; whether it ends. It stays while others hold a lease."""
        content = await self._request("POST", "release", body={}, timeout_s=RELEASE_TIMEOUT_S)
        return parse_answer(Released, content, endpoint=f"{API_PREFIX}/release").ending

    async def keep(self, keep: bool) -> None:
        """Say whether an owned service stays when its owner goes."""
        await self._request("POST", "keep", body=to_json(KeepRequest(keep)))

    async def shutdown(self) -> None:
        """Ask the service to end; it answers before it does."""
        await self._request("POST", "shutdown", body={})

    async def _get(self, kind: type[T], path: str, *, timeout_s: float = ANSWER_TIMEOUT_S) -> T:
        return await self._ask(kind, "GET", path, timeout_s=timeout_s)

    async def _ask(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> T:
        content = await self._request(method, path, body=body, timeout_s=timeout_s)
        return parse_answer(kind, content, endpoint=f"{API_PREFIX}/{path}")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> bytes:
        with translate_errors(self.url):
            response = await self._http.request(
                method,
                f"{self.url}{API_PREFIX}/{path}",
                headers=self._headers,
                json=body,
                timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            )
        if response.is_error:
            raise error_in(response.content) or errors.ServiceError(
                f"The service answered {path} with status {response.status_code}.", "See its log."
            )
        return response.content


def error_in(content: bytes) -> errors.LlamaRunnerError | None:
    """The error that the service wrote, as the exception it was there; None if `content` holds none."""
    try:
        error = json.loads(content)["error"]
        kind, message, hint = str(error["kind"]), str(error["message"]), str(error["hint"])
    except (ValueError, KeyError, TypeError):
        return None
    return _KINDS.get(kind, errors.ServiceError)(message, hint)
