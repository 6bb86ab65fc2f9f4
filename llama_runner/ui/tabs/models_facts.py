"""All that is known of a model file and of what runs of it, as pairs of a title and a sentence. Pure."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.control.values import Instance, ServedModel
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs.models_rows import (
    ModelLine,
    abilities_text,
    fit_sentence,
    fit_text,
    leaves_text,
    state_text,
    whole_seconds,
)

TEXT_CHARS: Final = 2000
# Enough to tell templates apart by eye.
TEMPLATE_CHARS: Final = 12


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


def file_facts(line: ModelLine) -> tuple[Fact, ...]:
    """Of a model file; what a file rarely says has no line when it does not."""
    file = line.file
    unsaid = _tr("Its file does not say.")
    return (
        Fact(_tr("Fit"), fit_text(line), fit_sentence(line)),
        Fact(_tr("Can"), abilities_text(line), _tr("By its file and what lies beside it.")),
        Fact(_tr("Name"), _shown(file.name), unsaid),
        Fact(_tr("Architecture"), _shown(file.architecture), unsaid),
        Fact(_tr("Parameters"), _parameters(file), unsaid),
        Fact(
            _tr("Quantization"),
            _shown(file.quantization),
            _tr("How the weights were shortened: fewer bits take less memory and lose precision."),
        ),
        Fact(_tr("Size"), _size(file), _tr("Of the file, with all its parts.")),
        Fact(
            _tr("Trained context"),
            _tokens(file.context_length),
            _tr("The longest conversation it was trained for."),
        ),
        *_family_facts(file),
        *_beside_facts(file),
        Fact(_tr("Found in"), _shown(file.origin)),
        Fact(_tr("File"), _shown(file.path)),
    )


def _parameters(file: ServedModel) -> str:
    if file.parameter_count is None:
        return _shown(file.size_label)
    layers = file.block_count
    words = _tr("{n} million").format(n=format.number(file.parameter_count / 1e6))
    return (
        words if layers is None else _tr("{words} in {n} layers").format(words=words, n=format.count(layers))
    )


def _size(file: ServedModel) -> str:
    words = format.size(file.size_bytes)
    return words if file.parts < 2 else _tr("{words} in {n} parts").format(words=words, n=file.parts)


def _family_facts(file: ServedModel) -> tuple[Fact, ...]:
    known = (
        (_tr("Family"), file.base_name, ""),
        (_tr("Made from"), file.base_model, ""),
        (_tr("License"), file.license, _tr("As its file says; nobody checked it.")),
        (
            _tr("Chat template"),
            _template(file),
            _tr("Two models with the same code write chats the same way."),
        ),
    )
    return tuple(Fact(title, _shown(text), hint) for title, text, hint in known if text)


def _template(file: ServedModel) -> str | None:
    if file.template_sha256 is None:
        return None
    code = file.template_sha256[:TEMPLATE_CHARS]
    return _tr("{code} (changed since last time)").format(code=code) if file.template_changed else code


def _beside_facts(file: ServedModel) -> tuple[Fact, ...]:
    facts: list[Fact] = []
    if file.projector is not None:
        name = PurePath(file.projector).name
        facts.append(Fact(_tr("Projector"), _shown(name), _tr("Lets it see or hear; it is loaded with it.")))
    if file.adapters:
        names = ", ".join(one.name for one in file.adapters)
        facts.append(Fact(_tr("Adapters"), _shown(names), _tr("Choose them in Options.")))
    facts += [Fact(_tr("Odd"), _shown(warning)) for warning in file.warnings]
    return tuple(facts)


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
    facts: list[Fact] = [] if one.note is None else [Fact(_tr("Not as asked"), _shown(one.note))]
    if one.load_s is not None:
        facts.append(Fact(_tr("Loaded in"), format.seconds(one.load_s)))
    if one.port is not None:
        facts.append(
            Fact(_tr("Port"), str(one.port), _tr("Chosen anew at each start, with a key of its own."))
        )
    if one.pid is not None:
        facts.append(Fact(_tr("Process"), str(one.pid)))
    return facts
