"""What the control API says over its WebSockets: one JSON object per message, told apart by `event`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llama_runner.control.settings import SettingsState
from llama_runner.control.values import Health, Instance, ProxiedRequest


@dataclass(frozen=True, slots=True)
class InstancesEvent:
    """Every instance, after one of them changed."""

    revision: int
    instances: tuple[Instance, ...]
    event: Literal["instances"] = "instances"


@dataclass(frozen=True, slots=True)
class RequestsEvent:
    """The requests through the proxy that are new or went on, oldest first; `number` names them."""

    requests: tuple[ProxiedRequest, ...]
    event: Literal["requests"] = "requests"


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """The service, after a notice came or went, or what it serves changed."""

    health: Health
    event: Literal["health"] = "health"


@dataclass(frozen=True, slots=True)
class SettingsEvent:
    """The settings, after they changed."""

    state: SettingsState
    event: Literal["settings"] = "settings"


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The client said something; these sockets only tell."""

    message: str
    hint: str
    event: Literal["error"] = "error"


Event = InstancesEvent | RequestsEvent | HealthEvent | SettingsEvent | ErrorEvent


@dataclass(frozen=True, slots=True)
class InstanceMetrics:
    """What one instance takes at this moment; None where unknown."""

    id: str
    model: str
    state: str
    ram_bytes: int | None
    vram_bytes: int | None
    in_flight: int | None
    idle_s: float | None


@dataclass(frozen=True, slots=True)
class MetricsEvent:
    """One sample.

    Attributes:
        host: This machine, as `monitor --once --json` shows it.
    """

    host: Mapping[str, Any]
    instances: tuple[InstanceMetrics, ...]
    event: Literal["metrics"] = "metrics"


Metrics = MetricsEvent | ErrorEvent
