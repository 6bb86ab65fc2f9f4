"""The rows of the models table: one model file each, what runs of it, and how that is put into words."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.control.values import Instance, ServedModel
from llama_runner.core import format

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


@cache
def _tr(text: str) -> str:
    # Remembered: a filter looks through the words of thousands of rows, and the language stays.
    return QCoreApplication.translate("models", text)


@cache
def _ability_words() -> Mapping[str, str]:
    return {
        "completion": _tr("chat"),
        "embedding": _tr("embeddings"),
        "tools": _tr("tools"),
        "thinking": _tr("thinking"),
        "vision": _tr("images"),
        "audio": _tr("audio"),
        "rerank": _tr("ranking"),
    }


@cache
def _fit_words() -> Mapping[str, str]:
    return {"fits": _tr("● fits"), "tight": _tr("◑ tight"), "too large": _tr("✕ too large")}


@cache
def _state_words() -> Mapping[str, str]:
    return {
        "stopped": _tr("○ not loaded"),
        "starting": _tr("◌ loading"),
        "ready": _tr("● ready"),
        "degraded": _tr("◑ degraded"),
        "stopping": _tr("◌ stopping"),
        "backoff": _tr("◌ waiting to retry"),
        "failed": _tr("✕ failed"),
    }


def search_text(line: ModelLine) -> str:
    """What a filter looks through: also what has no column."""
    file = line.file
    known = (file.id, file.name, file.path, file.origin, file.architecture, file.quantization, file.license)
    of_family = (file.base_name, file.size_label, file.base_model)
    words = (state_text(line), fit_text(line), abilities_text(line))
    return "\n".join((*words, *filter(None, (*known, *of_family))))


def abilities_text(line: ModelLine) -> str:
    """What it can do, in words."""
    words = _ability_words()
    return ", ".join(words.get(one, one) for one in line.file.capabilities) or format.UNKNOWN


def fit_text(line: ModelLine) -> str:
    """Whether this machine can hold it, as a mark and a word."""
    return _fit_words().get(line.file.fit or "", format.UNKNOWN)


def fit_kind(line: ModelLine) -> str:
    """What that means, as labels colour it."""
    return {"fits": "good", "tight": "warning", "too large": "bad"}.get(line.file.fit or "", "")


def fit_sentence(line: ModelLine) -> str:
    """The same with its numbers."""
    file = line.file
    if file.need_bytes is None or file.room_bytes is None:
        return _tr("How much memory it takes is not known.")
    more = {"tight": _tr(" With a shorter context it fits better.")}.get(file.fit or "", "")
    return (
        _tr("Takes about {need} of the {room} that models can have here when no other is loaded.").format(
            need=format.size(file.need_bytes), room=format.size(file.room_bytes)
        )
        + more
    )


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
    progress = line.instance.progress if line.instance is not None else None
    share = f" {format.percent(round(progress * 100))}" if line.state == "starting" and progress else ""
    return _state_words()[line.state] + share


def state_kind(line: ModelLine) -> str:
    """What its state means, as labels colour it."""
    if line.file.problem is not None:
        return "warning"
    known = {"ready": "good", "failed": "bad", "degraded": "warning", "stopped": "muted"}
    return known.get(line.state, "")


def problem_of(line: ModelLine) -> str:
    """What is wrong with its file, or with what ran of it, and what to do; empty when nothing is."""
    if line.file.problem is not None:
        return line.file.problem
    one = line.instance
    return f"{one.error} {one.advice or ''}".strip() if one is not None and one.error is not None else ""


def summary_of(line: ModelLine) -> str:
    """What is known of it in one line."""
    if problem := problem_of(line):
        return problem
    instance = line.instance
    if instance is None or instance.state == "stopped":
        return " · ".join(filter(None, (line.file.architecture, line.file.origin, line.file.path)))
    parts = [state_text(line)]
    if instance.load_s is not None:
        parts.append(_tr("loaded in {time}").format(time=format.seconds(instance.load_s)))
    return " · ".join(parts)
