"""The rows of the models table: one model file each, what runs of it, and how that is put into words."""

from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.control.values import Instance, ServedModel
from llama_runner.core import format
from llama_runner.ui.theme import Theme
from llama_runner.ui.widgets.tables import Column

RUNNING: Final = frozenset({"starting", "ready", "degraded", "backoff"})
SERVING: Final = frozenset({"ready", "degraded"})
MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model file and the instance that runs it, if one does (or last did)."""

    file: ServedModel
    instance: Instance | None

    @property
    def state(self) -> str:
        """Of its instance; "stopped" when there is none."""
        return self.instance.state if self.instance is not None else "stopped"

    @property
    def running(self) -> bool:
        """Whether it is loaded or on its way."""
        return self.state in RUNNING

    @property
    def serving(self) -> Instance | None:
        """The instance, while it answers."""
        return self.instance if self.state in SERVING else None

    @property
    def at_fault(self) -> bool:
        """Whether something is wrong with the file or with what ran of it."""
        return self.file.problem is not None or (
            self.instance is not None and self.instance.error is not None
        )


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def columns(theme: Theme) -> tuple[Column[ModelLine], ...]:
    """The columns of the table."""
    return (
        Column(
            _tr("State"),
            state_text,
            cell_hint=summary_of,
            colour=lambda line: _state_colour(line, theme),
        ),
        Column(
            _tr("Model"),
            lambda line: line.file.id,
            cell_hint=lambda line: line.file.path,
            stretch=True,
        ),
        Column(
            _tr("Requests"),
            lambda line: format.count(_in_flight(line)),
            _in_flight,
            number=True,
            hint=_tr("Requests that it works on or that wait for it, from whatever program."),
        ),
        Column(
            _tr("Idle"),
            lambda line: whole_seconds(_idle_s(line)),
            _idle_s,
            number=True,
            hint=_tr("How long nobody has asked it anything."),
        ),
        Column(
            _tr("Leaves in"),
            leaves_text,
            _leaves_in_s,
            number=True,
            hint=_tr(
                "When it leaves the memory if nobody asks it anything: only what a request loaded does, "
                "and nothing that is pinned."
            ),
        ),
        Column(
            _tr("RAM"),
            lambda line: format.size(line.instance.ram_bytes if line.instance else None),
            lambda line: line.instance.ram_bytes if line.instance else None,
            number=True,
            hint=_tr("Memory that its process uses now."),
        ),
        Column(
            _tr("File size"),
            lambda line: format.size(line.file.size_bytes),
            lambda line: line.file.size_bytes,
            number=True,
        ),
        Column(
            _tr("Quantization"),
            lambda line: line.file.quantization or format.UNKNOWN,
            hint=_tr("How the weights were shortened: fewer bits take less memory and lose precision."),
        ),
        Column(
            _tr("Context (tokens)"),
            lambda line: format.count(line.file.context_length),
            lambda line: line.file.context_length,
            number=True,
            hint=_tr("The longest conversation it was trained for."),
        ),
    )


def search_text(line: ModelLine) -> str:
    """What a filter looks through: also what has no column."""
    file = line.file
    known = (file.id, file.name, file.path, file.origin, file.architecture, file.quantization)
    return "\n".join((state_text(line), *filter(None, known)))


def _in_flight(line: ModelLine) -> int | None:
    return line.serving.in_flight if line.serving is not None else None


def _idle_s(line: ModelLine) -> float | None:
    return line.serving.idle_s if line.serving is not None else None


def _leaves_in_s(line: ModelLine) -> float | None:
    return line.serving.unload_in_s if line.serving is not None else None


def whole_seconds(value_s: float | None) -> str:
    """A time that is looked at once a second: digits behind the point would only flicker."""
    if value_s is None or value_s >= MINUTE_S:
        return format.seconds(value_s)
    return _tr("{n} s").format(n=round(value_s))


def leaves_text(line: ModelLine) -> str:
    """When it leaves for want of work."""
    if line.serving is None:
        return format.UNKNOWN
    if line.serving.pinned:
        return _tr("pinned")
    return whole_seconds(line.serving.unload_in_s)


def state_text(line: ModelLine) -> str:
    """What it does, as a mark and a word."""
    if line.file.problem is not None:
        return _tr("⚠ unusable")
    words = {
        "stopped": _tr("○ not loaded"),
        "starting": _tr("◌ loading"),
        "ready": _tr("● ready"),
        "degraded": _tr("◑ degraded"),
        "stopping": _tr("◌ stopping"),
        "backoff": _tr("◌ waiting to retry"),
        "failed": _tr("✕ failed"),
    }
    progress = line.instance.progress if line.instance is not None else None
    share = f" {format.percent(round(progress * 100))}" if line.state == "starting" and progress else ""
    return words[line.state] + share


def _state_colour(line: ModelLine, theme: Theme) -> str | None:
    colours = theme.colours
    if line.file.problem is not None:
        return colours.warning
    known = {"ready": colours.good, "failed": colours.bad, "degraded": colours.warning}
    return known.get(line.state, colours.muted if line.state == "stopped" else None)


def summary_of(line: ModelLine) -> str:
    """What is known of it in one line."""
    if line.file.problem is not None:
        return line.file.problem
    instance = line.instance
    if instance is None or instance.state == "stopped":
        return " · ".join(filter(None, (line.file.architecture, line.file.origin, line.file.path)))
    if instance.error is not None:
        return f"{instance.error} {instance.advice or ''}".strip()
    parts = [state_text(line)]
    if instance.load_s is not None:
        parts.append(_tr("loaded in {time}").format(time=format.seconds(instance.load_s)))
    if instance.port is not None:
        parts.append(_tr("port {port}").format(port=instance.port))
    if instance.pid is not None:
        parts.append(_tr("process {pid}").format(pid=instance.pid))
    return " · ".join(parts)
