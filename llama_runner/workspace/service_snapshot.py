"""The local service at one moment, as the client side sees it."""

from dataclasses import dataclass
from enum import StrEnum

from llama_runner.control.values import Instance, ProxyFace
from llama_runner.core.errors import LlamaRunnerError


class LinkState(StrEnum):
    """How we stand to the local service."""

    OFF = "off"
    STARTING = "starting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """The service and its instances at one moment.

    Attributes:
        owned: We started it, and it ends with us unless it is to keep serving.
        keep: It stays when we go.
        error: Why the state is `FAILED`.
        notices: Sentences of the service for a person.
        openai: Where other programs reach the models in OpenAI's and LM Studio's dialect.
        ollama: The same for Ollama's.
    """

    state: LinkState = LinkState.OFF
    owned: bool = False
    keep: bool = False
    url: str | None = None
    pid: int | None = None
    version: str | None = None
    instances: tuple[Instance, ...] = ()
    notices: tuple[str, ...] = ()
    error: LlamaRunnerError | None = None
    openai: ProxyFace | None = None
    ollama: ProxyFace | None = None
