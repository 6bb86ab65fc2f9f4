"""What loading a model would mean, in sentences, before it is done. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QCoreApplication

from llama_runner.control.values import Plan, PlannedModel
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.ui.tabs.models_rows import whole_seconds
from llama_runner.ui.widgets.stacked_bar import Part

NAME_CHARS: Final = 60
# Who stays matters less than who leaves.
MOST_STAYING: Final = 3


def _tr(text: str) -> str:
    return QCoreApplication.translate("models", text)


def plan_words(plan: Plan, *, separator: str = " ") -> str:
    """What it needs, what is there, who leaves, who stays, and when it would be ready."""
    if plan.loaded:
        return _tr("It is loaded already.")
    sentences = [_need(plan)]
    sentences += [
        _tr("{model} leaves: {doing}.").format(model=_name(one), doing=_doing(one)) for one in plan.evict
    ]
    sentences += _staying(plan.keep)
    if not plan.fits:
        sentences.append(_no_room(plan))
    elif plan.load_s is not None:
        sentences.append(_tr("Ready in about {time}.").format(time=format.seconds(plan.load_s)))
    return separator.join((*sentences, *plan.warnings))


def _need(plan: Plan) -> str:
    words = (
        _tr("Needs {need} of memory (measured when it was loaded before); {free} are free.")
        if plan.measured
        else _tr("Needs about {need} of memory (estimated from its file); {free} are free.")
    )
    return words.format(need=format.size(plan.need_bytes), free=format.size(max(0, plan.free_bytes)))


def _staying(keep: Sequence[PlannedModel]) -> list[str]:
    told = [_tr("{model} stays: {doing}.").format(model=_name(one), doing=_doing(one)) for one in keep]
    if len(told) <= MOST_STAYING:
        return told
    return [*told[:MOST_STAYING], _tr("{n} more stay.").format(n=len(told) - MOST_STAYING)]


def _no_room(plan: Plan) -> str:
    if any(one.pinned for one in plan.keep):
        return _tr("There is no room for it unless something is unpinned or unloaded.")
    return _tr("There is no room for it unless something else ends.")


def _doing(one: PlannedModel) -> str:
    if one.pinned:
        return _tr("pinned")
    if one.in_flight == 1:
        return _tr("1 request in work, which it finishes")
    if one.in_flight:
        return _tr("{n} requests in work, which it finishes").format(n=format.count(one.in_flight))
    if one.idle_s is None:
        return _tr("loading")
    return _tr("idle for {time}").format(time=whole_seconds(one.idle_s))


def _name(one: PlannedModel) -> str:
    return visible_controls(one.model, NAME_CHARS)


@dataclass(frozen=True, slots=True)
class MemoryBar:
    """What is needed of one kind of memory, against what is free of it.

    Attributes:
        whole: Bytes that the bar's length stands for.
        mark: Where the free memory ends, when more is needed.
        status: "bad" when it does not fit, "warning" when others have to leave, "good".
    """

    title: str
    parts: tuple[Part, ...]
    whole: float
    mark: float | None
    status: str


def memory_bars(plan: Plan) -> tuple[MemoryBar, ...]:
    """One bar for each kind of memory that it needs: main memory, then graphics cards."""
    ram = _bar(
        plan,
        _tr("RAM"),
        need=plan.need_ram_bytes,
        free=plan.free_ram_bytes,
        parts=[(part.name, part.ram_bytes) for part in plan.parts],
    )
    vram = _bar(
        plan,
        _tr("GPU memory"),
        need=plan.need_vram_bytes,
        free=plan.free_vram_bytes,
        parts=[(part.name, part.vram_bytes) for part in plan.parts],
    )
    return (ram, vram) if plan.need_vram_bytes or plan.free_vram_bytes else (ram,)


def _bar(plan: Plan, kind: str, *, need: int, free: int, parts: Sequence[tuple[str, int]]) -> MemoryBar:
    free = max(0, free)
    words, status = _verdict(plan, need, free)
    title = _tr("{need} of {free} free {kind} · {verdict}").format(
        need=format.size(need), free=format.size(free), kind=kind, verdict=words
    )
    if plan.measured:
        title = _tr("{title} · measured").format(title=title)
    told = tuple(
        Part(_part_title(name), size, format.size(size), _PART_SERIES.get(name, 0))
        for name, size in parts
        if size
    )
    whole = max(need, free, sum(part.value for part in told), 1)
    return MemoryBar(title, told, whole, free if need > free else None, status)


def _verdict(plan: Plan, need: int, free: int) -> tuple[str, str]:
    if plan.loaded:
        return _tr("loaded"), ""
    if need <= free:
        return _tr("● fits"), "good"
    if plan.fits:
        return _tr("◑ fits when others leave"), "warning"
    return _tr("✕ too large"), "bad"


# Numbers of colours.
_PART_SERIES: Final = {"weights": 0, "context": 2, "work": 1}


def _part_title(name: str) -> str:
    titles = {"weights": _tr("Weights"), "context": _tr("Context"), "work": _tr("Work space")}
    return titles.get(name, name)
