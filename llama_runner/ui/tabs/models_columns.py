"""The columns of the table of models: what compares files first, what changes while they run after it."""

from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.core import format
from llama_runner.ui.tabs.models_rows import (
    ModelLine,
    abilities_text,
    fit_kind,
    fit_sentence,
    fit_text,
    leaves_text,
    state_kind,
    state_text,
    summary_of,
    whole_seconds,
)
from llama_runner.ui.theme import Theme
from llama_runner.ui.widgets.tables import Column

# Names of models differ at their ends.
NAME_PX: Final = 210


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def columns(theme: Theme) -> tuple[Column[ModelLine], ...]:
    """All of them."""
    return (*_name_columns(theme), *_file_columns(), *_running_columns())


def _name_columns(theme: Theme) -> tuple[Column[ModelLine], ...]:
    return (
        Column(
            _tr("State"),
            state_text,
            cell_hint=summary_of,
            colour=lambda line: _colour(state_kind(line), theme),
        ),
        Column(
            _tr("Model"),
            lambda line: line.file.id,
            cell_hint=lambda line: line.file.path,
            stretch=True,
            width_px=NAME_PX,
        ),
        Column(
            _tr("Fit"),
            fit_text,
            _share,
            cell_hint=fit_sentence,
            colour=lambda line: _colour(fit_kind(line), theme),
            hint=_tr("Whether the memory of this machine holds it, with no other model loaded."),
        ),
    )


def _file_columns() -> tuple[Column[ModelLine], ...]:
    return (
        Column(
            _tr("Size"),
            lambda line: format.size(line.file.size_bytes),
            lambda line: line.file.size_bytes,
            number=True,
            hint=_tr("Of the file, with all its parts."),
        ),
        Column(
            _tr("Quantization"),
            lambda line: line.file.quantization or format.UNKNOWN,
            hint=_tr("How the weights were shortened: fewer bits take less memory and lose precision."),
        ),
        Column(
            _tr("Context"),
            lambda line: format.count(line.file.context_length),
            lambda line: line.file.context_length,
            number=True,
            hint=_tr("The longest conversation it was trained for, in tokens."),
        ),
        Column(
            _tr("Architecture"),
            lambda line: line.file.architecture or format.UNKNOWN,
            hint=_tr("The family it belongs to, in the engine's words."),
        ),
        Column(
            _tr("Can"),
            abilities_text,
            hint=_tr("What it can do, by its file and what lies beside it."),
        ),
        Column(_tr("Found in"), lambda line: line.file.origin, hint=_tr("The store that it lies in.")),
    )


def _running_columns() -> tuple[Column[ModelLine], ...]:
    return (
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
            _tr("GPU memory"),
            lambda line: format.size(line.instance.vram_bytes if line.instance else None),
            lambda line: line.instance.vram_bytes if line.instance else None,
            number=True,
            hint=_tr("Of its process, where the driver tells."),
        ),
    )


def _colour(kind: str, theme: Theme) -> str | None:
    return str(getattr(theme.colours, kind)) if kind else None


def _share(line: ModelLine) -> float | None:
    """What it takes of what there is."""
    need, room = line.file.need_bytes, line.file.room_bytes
    return need / room if need is not None and room else None


def _in_flight(line: ModelLine) -> int | None:
    return line.serving.in_flight if line.serving is not None else None


def _idle_s(line: ModelLine) -> float | None:
    return line.serving.idle_s if line.serving is not None else None


def _leaves_in_s(line: ModelLine) -> float | None:
    return line.serving.unload_in_s if line.serving is not None else None
