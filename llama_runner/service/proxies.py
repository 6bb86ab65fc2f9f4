"""The proxy inside the service: what is spoken at its doors, and what all of them share."""

from collections.abc import Callable
from functools import partial
from typing import Final, Self

import httpx

from llama_runner.core.clock import Clock
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.settings import ProxySettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.answering import Refusal, Spelling
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.app import ollama_app, openai_app
from llama_runner.proxy.bodies import MAX_BODY_BYTES
from llama_runner.proxy.breaker import Breakers
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.prompts import PromptLog
from llama_runner.proxy.refusals import ollama_refusal, openai_refusal
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.service.addresses import ProxyAddresses, Wanted
from llama_runner.service.doors import Dialect, Doors
from llama_runner.service.model_host import RuntimeHost
from llama_runner.service.remote_host import KnownServers, RemoteHost
from llama_runner.service.routes import RoutedHost
from llama_runner.service.state import ServiceState

# OpenAI's words for what the gate refuses; anything else is a mistake in the request.
_KINDS: Final = {
    401: "authentication_error",
    403: "permission_error",
    421: "permission_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Proxies:
    """A context: inside it the listeners are open as far as they are wanted.

    Args:
        wanted: How it is to listen, as the settings and the command line say now.
        fixed: What the command line said.
        token_hash: Of the access token, None as long as there is none.
        servers: Other places to ask, as far as `settings` names them.
        prompts: Written while `settings` say so.
        state: Gets what became of each dialect, and notices.
    """

    def __init__(
        self,
        *,
        wanted: Callable[[], Wanted],
        fixed: ProxyAddresses,
        token_hash: Callable[[], bytes | None],
        manager: RuntimeManager,
        servers: KnownServers,
        settings: Callable[[], ProxySettings],
        prompts: PromptLog,
        http: httpx.AsyncClient,
        clock: Clock,
        state: ServiceState,
    ) -> None:
        self._tasks = TaskOwner()
        # One for all listeners, whichever come and go: queues and counts are the models', not a port's.
        self.host = RoutedHost(
            RuntimeHost(manager, http=http, clock=clock, tasks=self._tasks),
            RemoteHost(servers, http=http, clock=clock, tasks=self._tasks),
            settings=settings,
            breakers=Breakers(partial(_tell_of_server, state)),
        )
        shared = Relays(
            host=self.host,
            http=http,
            clock=clock,
            admission=Admission(clock=clock),
            requests=state.requests,
            settings=settings,
            breakers=self.host.breakers,
            prompts=prompts,
        )
        self._kept = shared.kept
        self._state = state
        self._doors = Doors(
            dialects(shared),
            fixed=frozenset(key for key in ("openai", "ollama") if getattr(fixed, key) is not None),
            wanted=wanted,
            token_hash=token_hash,
            notice=state.notice,
            withdraw=state.withdraw,
            tasks=self._tasks,
        )

    async def __aenter__(self) -> Self:
        await self._doors.start()
        self._tell()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._doors.close()
        await self._tasks.close()
        self._kept.close()

    async def follow(self, again: bool = False) -> None:
        """Open, move and close what is not as it is wanted now.

        Args:
            again: Also try again what could not be opened.
        """
        await self._doors.follow(again)
        self._tell()

    def _tell(self) -> None:
        self._state.openai, self._state.ollama = self._doors.now


def _tell_of_server(state: ServiceState, name: str, down: bool) -> None:
    text = f"{name} failed again and again: requests pass it over, and try it every few seconds."
    (state.notice if down else state.withdraw)(text)


def dialects(shared: Relays) -> tuple[Dialect, Dialect]:
    """What each door speaks."""
    openai, ollama = _spelling(openai_refusal), _spelling(ollama_refusal)
    return (
        Dialect("openai", "The OpenAI and LM Studio API", openai_app(shared), openai, MAX_BODY_BYTES),
        Dialect("ollama", "The Ollama API", ollama_app(shared), ollama, MAX_BODY_BYTES),
    )


def _spelling(document: Callable[[str, int, str, str], JsonValue]) -> Spelling:
    """A dialect's document for what the gate refuses."""

    def spell(path: str, refusal: Refusal) -> JsonValue:
        told = f"{refusal.message} {refusal.hint}".strip()
        return document(path, refusal.status, told, _KINDS.get(refusal.status, "invalid_request_error"))

    return spell
