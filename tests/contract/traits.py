"""What each server of the contract suite itself does, whatever we make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.backends.base import Engine
from llama_runner.backends.models import COMPLETION, THINKING, TOOLS, VISION, ContextSource, ModelInfo
from llama_runner.core.trace import TokensSource
from tests.fakes.metronome_manners import CONTEXT, QUANTIZATION, SIZE_BYTES, TRAINED_CONTEXT


@dataclass(frozen=True)
class Traits:
    """What the server itself does, whatever we make of it.

    Attributes:
        keyed: It refuses requests without its key.
        describes: What `describe` has to say of its model; only the fields that are not at their default
            are compared, so that a real server's sizes need no copying.
        limit_reason: The finish reason of an answer that its token limit ended.
        counts: Where the count of output tokens of an ordinary answer comes from.
        counts_reasoning: It reports reasoning tokens apart.
        counts_per_chunk: It can be made to count output tokens in every event.
        reports_progress: It streams prefill progress.
        loads: Models can be loaded and unloaded.
        embedding_model: The model for embeddings, None where it has none.
        counts_tokens: Its tokenizer counts plain texts.
        counts_prompt: It counts a whole request without answering it.
        obeys_schema: An answer that is to fit a schema does.
        sees_images: Its model takes images.
        not_found_text: What it says of an unknown path; None where it answers with status 200.
        call_events: Events in which a short tool call comes.
        refusal_text: What it says of a wrong key.
        overflow_text: What it says of a prompt that is too long.
    """

    keyed: bool = True
    describes: ModelInfo | None = None
    limit_reason: str = "stop"
    counts: TokensSource = TokensSource.USAGE
    counts_reasoning: bool = True
    counts_per_chunk: bool = True
    reports_progress: bool = False
    loads: bool = False
    embedding_model: str | None = None
    counts_tokens: bool = False
    counts_prompt: bool = False
    obeys_schema: bool = False
    sees_images: bool = False
    not_found_text: str | None = "File Not Found"
    call_events: int = 1
    refusal_text: str = "Invalid API Key"
    overflow_text: str = "exceeds"


ORDINARY: Final = Traits()
# What the metronome lists of its model, where the engine says so much.
LISTED: Final = ModelInfo(
    "metronome",
    context_length=CONTEXT,
    context_source=ContextSource.RUNNING,
    loaded=True,
    capabilities=(COMPLETION,),
)
# The metronome in the dialects that are OpenAI's with endpoints of their own, and in Anthropic's.
OTHER_ENGINES: Final[Mapping[Engine, Traits]] = {
    Engine.LM_STUDIO: Traits(
        describes=replace(
            LISTED,
            capabilities=(COMPLETION, TOOLS, VISION, THINKING),
            trained_context=TRAINED_CONTEXT,
            size_bytes=SIZE_BYTES,
            quantization=QUANTIZATION,
            family="metronome",
            parameters="7B",
            instance_id="metronome:2",
        ),
        loads=True,
        embedding_model="metronome",
        sees_images=True,
        not_found_text=None,
    ),
    Engine.SGLANG: Traits(
        describes=replace(LISTED, capabilities=(COMPLETION, VISION), family="metronome"),
        counts=TokensSource.CHUNK_USAGE,
        embedding_model="metronome",
        counts_tokens=True,
        counts_prompt=True,
        sees_images=True,
    ),
    Engine.TGI: Traits(
        describes=LISTED, counts_reasoning=False, counts_tokens=True, counts_prompt=True, sees_images=True
    ),
    Engine.LOCALAI: Traits(
        describes=replace(LISTED, capabilities=(COMPLETION, TOOLS, THINKING, VISION)),
        loads=True,
        embedding_model="metronome",
        counts_tokens=True,
        sees_images=True,
    ),
    Engine.KOBOLDCPP: Traits(
        describes=replace(LISTED, capabilities=(COMPLETION, TOOLS, VISION, THINKING)),
        embedding_model="metronome",
        counts_tokens=True,
        counts_prompt=True,
        sees_images=True,
        not_found_text="does not exist",
    ),
    Engine.LITELLM: Traits(
        describes=replace(LISTED, loaded=None, capabilities=(COMPLETION, TOOLS, VISION)),
        embedding_model="metronome",
        counts_tokens=True,
        counts_prompt=True,
        sees_images=True,
        not_found_text="Not Found",
    ),
    Engine.LLAMA_SWAP: Traits(
        describes=replace(
            LISTED,
            context_source=ContextSource.SLOT,
            capabilities=(COMPLETION, VISION, TOOLS),
            trained_context=TRAINED_CONTEXT,
            size_bytes=SIZE_BYTES,
        ),
        counts=TokensSource.CHUNK_USAGE,
        reports_progress=True,
        loads=True,
        embedding_model="metronome",
        counts_tokens=True,
        counts_prompt=True,
        sees_images=True,
    ),
    Engine.ANTHROPIC: Traits(
        describes=replace(LISTED, loaded=None, capabilities=(COMPLETION, TOOLS, VISION, THINKING)),
        counts_per_chunk=False,
        counts_prompt=True,
        sees_images=True,
        call_events=2,
    ),
}
