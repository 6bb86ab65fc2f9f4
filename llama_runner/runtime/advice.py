"""What a person should know before a model is loaded: pure sentences about a plan."""

from llama_runner.core.format import count
from llama_runner.runtime.memory import all_layers
from llama_runner.runtime.room import Place
from llama_runner.runtime.wanted import Wanted


def warnings_of(place: Place) -> tuple[str, ...]:
    """Everything odd about loading it like this."""
    wanted, gpu_layers = place.wanted, place.gpu_layers
    found = (
        _context(wanted),
        _values(wanted),
        workers_warning(wanted),
        _offload(wanted, gpu_layers),
        _draft(wanted),
    )
    return tuple(sentence for sentence in found if sentence)


def _context(wanted: Wanted) -> str:
    options, header = wanted.options, wanted.model.header
    trained = header.context_length if header is not None else None
    if (
        not trained
        or not options.context_length
        or options.context_length <= trained * (options.parallel or 1)
    ):
        return ""
    if options.rope_scaling or options.rope_scale:
        return ""
    return (
        f"It was trained for {count(trained)} tokens; beyond them its answers lose sense "
        "unless the context is scaled."
    )


def _values(wanted: Wanted) -> str:
    kind = wanted.options.cache_type_v
    if wanted.options.flash_attention != "off" or kind in (None, "f32", "f16", "bf16"):
        return ""
    return f"Values of type {kind} need flash attention, which is switched off: the engine will refuse."


def workers_warning(wanted: Wanted) -> str:
    """What it means that other machines compute parts of it (I9); empty when none do."""
    workers = wanted.options.rpc_workers
    if not workers:
        return ""
    return (
        f"Its weights and everything asked of it go to {', '.join(workers)} without encryption, and whoever "
        "reaches these ports controls those machines."
    )


def _offload(wanted: Wanted, gpu_layers: int | None) -> str:
    layers = all_layers(wanted.model.header)
    if gpu_layers is None or layers is None or gpu_layers >= layers or wanted.options.gpu_layers is not None:
        return ""
    return (
        f"The graphics cards have room for {gpu_layers} of its {layers} layers; "
        "the processor computes the others, more slowly."
    )


def _draft(wanted: Wanted) -> str:
    if wanted.draft is None or wanted.draft.size_bytes is None or wanted.model.size_bytes is None:
        return ""
    if wanted.draft.size_bytes < wanted.model.size_bytes:
        return ""
    return f"{wanted.draft.id} is no smaller than {wanted.model.id}: guessing ahead with it saves nothing."
