"""All that is known of a model file and of what runs of it, as pairs of a title and a sentence. Pure."""

from pathlib import PurePath
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.control.serving import InstanceActivity
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
from llama_runner.ui.widgets.facts import Fact

TEXT_CHARS: Final = 2000
# Enough to tell templates apart by eye.
TEMPLATE_CHARS: Final = 12


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


def activity_facts(now: InstanceActivity, before: InstanceActivity | None) -> tuple[Fact, ...]:
    """What an engine is doing.

    Args:
        before: What it said the last time; two answers tell the speed in between.
    """
    mean = _tr("Mean since it was loaded, over the time in which it worked.")
    facts = [
        Fact(_tr("Slots"), _slots(now), _tr("Requests that it works on at the same time.")),
        Fact(_tr("Prefill speed"), _speed(now.prompt_tps, _since(before, now, "prompt")), mean),
        Fact(_tr("Decode speed"), _speed(now.decode_tps, _since(before, now, "output")), mean),
    ]
    if now.drafted_tokens:
        share = 100 * (now.accepted_tokens or 0) / now.drafted_tokens
        facts.append(Fact(_tr("Guesses right"), format.percent(share), _tr("Of the tokens guessed ahead.")))
    return tuple(facts)


def _slots(now: InstanceActivity) -> str:
    if now.slots is None:
        return format.UNKNOWN
    words = _tr("{n} of {all} in work").format(n=format.count(now.working), all=format.count(now.slots))
    if now.waiting:
        words = _tr("{words}, {n} waiting").format(words=words, n=format.count(now.waiting))
    if now.slot_context is None:
        return words
    return _tr("{words} · {n} tokens each").format(words=words, n=format.count(now.slot_context))


def _speed(mean: float | None, lately: float | None) -> str:
    if lately is None:
        return format.rate(mean)
    return _tr("{now} now · {mean} on average").format(now=format.rate(lately), mean=format.rate(mean))


def _since(before: InstanceActivity | None, now: InstanceActivity, what: str) -> float | None:
    """Tokens per second of work between two answers of one engine; None when it did nothing of the kind."""
    if before is None or before.id != now.id:
        return None
    tokens = [getattr(one, f"{what}_tokens") for one in (before, now)]
    spent_s = [getattr(one, f"{what}_s") for one in (before, now)]
    if None in tokens or None in spent_s or spent_s[1] <= spent_s[0]:
        return None
    return float((tokens[1] - tokens[0]) / (spent_s[1] - spent_s[0]))


def _load_facts(one: Instance) -> list[Fact]:
    facts: list[Fact] = [] if one.note is None else [Fact(_tr("Not as asked"), _shown(one.note))]
    if one.load_s is not None:
        facts.append(Fact(_tr("Loaded in"), format.seconds(one.load_s)))
    if one.port is not None:
        facts.append(
            Fact(_tr("Port"), str(one.port), _tr("Chosen anew at each start, with a key of its own."))
        )
    if one.profile:
        facts.append(Fact(_tr("Profile"), _shown(one.profile)))
    if one.engine:
        facts.append(Fact(_tr("Engine"), _shown(one.engine)))
    if one.gpu_layers is not None:
        facts.append(
            Fact(_tr("GPU layers"), format.count(one.gpu_layers), _tr("As planned when it was loaded."))
        )
    if one.pid is not None:
        facts.append(Fact(_tr("Process"), str(one.pid)))
    return facts
