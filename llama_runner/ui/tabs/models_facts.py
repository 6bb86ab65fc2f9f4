"""All that is known of a model file and of what runs of it, as pairs of a title and a sentence. Pure."""

from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication

from llama_runner.control.values import Instance, ServedModel
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs.models_rows import ModelLine, leaves_text, state_text, whole_seconds

TEXT_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Fact:
    """One line.

    Attributes:
        hint: Says more, or why it is unknown.
    """

    title: str
    text: str
    hint: str = ""


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def _shown(text: str | None) -> str:
    return visible_controls(text, TEXT_CHARS) if text else format.UNKNOWN


def file_facts(file: ServedModel) -> tuple[Fact, ...]:
    """Of a model file."""
    unsaid = _tr("Its file does not say.")
    return (
        Fact(_tr("Name"), _shown(file.name), unsaid),
        Fact(_tr("Architecture"), _shown(file.architecture), unsaid),
        Fact(
            _tr("Quantization"),
            _shown(file.quantization),
            _tr("How the weights were shortened: fewer bits take less memory and lose precision."),
        ),
        Fact(_tr("File size"), format.size(file.size_bytes)),
        Fact(
            _tr("Trained context"),
            _tokens(file.context_length),
            _tr("The longest conversation it was trained for."),
        ),
        Fact(_tr("Found in"), _shown(file.origin)),
        Fact(_tr("File"), _shown(file.path)),
    )


def _tokens(count: int | None) -> str:
    return format.UNKNOWN if count is None else _tr("{n} tokens").format(n=format.count(count))


def instance_facts(line: ModelLine) -> tuple[Fact, ...]:
    """Of what runs of it; nothing when nothing does."""
    one = line.instance
    if one is None or one.state == "stopped":
        return ()
    facts = [Fact(_tr("State"), state_text(line)), *_load_facts(one)]
    if line.serving is not None:
        facts += [
            Fact(
                _tr("Requests"),
                format.count(one.in_flight),
                _tr("In work or waiting, from whatever program."),
            ),
            Fact(_tr("Idle for"), whole_seconds(one.idle_s)),
            Fact(_tr("Leaves in"), leaves_text(line), _tr("For want of work.")),
            Fact(_tr("RAM"), format.size(one.ram_bytes), _tr("Memory that its process uses now.")),
            Fact(
                _tr("GPU memory"),
                format.size(one.vram_bytes),
                _tr("Unknown without a supported graphics card."),
            ),
        ]
    return tuple(facts)


def _load_facts(one: Instance) -> list[Fact]:
    facts: list[Fact] = []
    if one.load_s is not None:
        facts.append(Fact(_tr("Loaded in"), format.seconds(one.load_s)))
    if one.port is not None:
        facts.append(
            Fact(_tr("Port"), str(one.port), _tr("Chosen anew at each start, with a key of its own."))
        )
    if one.pid is not None:
        facts.append(Fact(_tr("Process"), str(one.pid)))
    return facts
