"""What to leave out of a load that ran out of memory, before it is tried once more. Pure."""

from typing import Final

from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.diagnosis import Cause
from llama_runner.runtime.gguf import GgufHeader

# Less context than this is of no use to anybody.
_LEAST_CONTEXT: Final = 512
# Where nobody asked for a length: llama-server takes all that the model was trained for, which few need.
_USUAL_CONTEXT: Final = 8192


def smaller(options: LoadOptions, header: GgufHeader | None, cause: Cause) -> tuple[LoadOptions, str] | None:
    """Options that need less memory, and a sentence for the person; None when nothing can be left out.

    Args:
        cause: `GPU_MEMORY` takes layers off the graphics card first; anything else shortens the context.
    """
    return (_fewer_layers(options, header) if cause is Cause.GPU_MEMORY else None) or _shorter(
        options, header
    )


def _fewer_layers(options: LoadOptions, header: GgufHeader | None) -> tuple[LoadOptions, str] | None:
    blocks = header.block_count if header else None
    asked = options.gpu_layers
    layers = blocks if asked is None else min(asked, blocks) if blocks else asked
    if not layers:
        return None
    fewer = layers // 2
    return (
        options.model_copy(update={"gpu_layers": fewer}),
        f"The graphics card had no room for {layers} layers, so it holds {fewer}.",
    )


def _shorter(options: LoadOptions, header: GgufHeader | None) -> tuple[LoadOptions, str] | None:
    asked = options.context_length
    length = asked or (header.context_length if header else None)
    if length is None or length // 2 < _LEAST_CONTEXT:
        return None
    shorter = length // 2 if asked else min(length // 2, _USUAL_CONTEXT)
    return (
        options.model_copy(update={"context_length": shorter}),
        f"There was no room for a context of {length} tokens, so it has {shorter}.",
    )
