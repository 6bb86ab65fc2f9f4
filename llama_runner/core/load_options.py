"""How a model is loaded: the one catalogue of options, with type, bounds, help, group and the engine's name.

Configuration, control API, command line and the engine's command line are made from it. What is not in it
cannot be given to an engine (safety R7). A test compares it with the `--help` of a real llama-server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError

from llama_runner.core.errors import UsageError
from llama_runner.core.fields import Section, setting, setting_info
from llama_runner.core.option_types import CacheType, EngineName, File, Files, Name, Shares, Workers

MAX_TOKENS: Final = 16_777_216


class Group(StrEnum):
    """Where an option stands in a form."""

    ENGINE = "Engine"
    CONTEXT = "Context"
    GPU = "Graphics card"
    SPEED = "Speed and memory"
    FILES = "Images, adapters and drafts"
    CHAT = "Chat"
    EMBEDDING = "Embeddings and ranking"


@dataclass(frozen=True, slots=True)
class Flag:
    """How an option is given to the engine.

    Attributes:
        name: The engine's long option; empty for what is decided before there is an engine.
        off: The option that says no, for options that are either on or off; empty when leaving out is no.
    """

    name: str
    group: Group
    off: str = ""


def option(
    flag: str,
    group: Group,
    *,
    title: str,
    help: str,
    off: str = "",
    unit: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    max_length: int | None = None,
) -> Any:
    """Declare one option; None, its default, leaves the choice to the engine."""
    more = {"flag": flag, "group": str(group)} | ({"off": off} if off else {})
    return setting(
        None,
        title=title,
        help=help,
        unit=unit,
        ge=ge,
        le=le,
        clamp=False,
        max_length=max_length,
        more=more,
    )


class LoadOptions(Section):
    """How a model is loaded; null leaves the choice to the engine."""

    engine: EngineName | None = option(
        "",
        Group.ENGINE,
        title="Engine",
        help="Which of the engines in the settings runs it, by name; default is the one used otherwise.",
    )
    context_length: int | None = option(
        "--ctx-size",
        Group.CONTEXT,
        title="Context length",
        help="Tokens a conversation may have.",
        unit="tokens",
        ge=1,
        le=MAX_TOKENS,
    )
    gpu_layers: int | None = option(
        "--n-gpu-layers",
        Group.GPU,
        title="GPU layers",
        help="Layers kept on the GPU; 0 uses the CPU only.",
        unit="layers",
        ge=0,
        le=10_000,
    )
    threads: int | None = option(
        "--threads",
        Group.SPEED,
        title="Threads",
        help="CPU threads used for generation.",
        unit="threads",
        ge=1,
        le=1024,
    )
    parallel: int | None = option(
        "--parallel",
        Group.CONTEXT,
        title="Parallel requests",
        help="Requests the model answers at the same time.",
        unit="slots",
        ge=1,
        le=256,
    )
    unified_context: bool | None = option(
        "--kv-unified",
        Group.CONTEXT,
        off="--no-kv-unified",
        title="Shared context",
        help="One context for all parallel requests instead of an equal part for each.",
    )
    context_shift: bool | None = option(
        "--context-shift",
        Group.CONTEXT,
        off="--no-context-shift",
        title="Shift a full context",
        help="Drop the oldest tokens when the context is full, and go on.",
    )
    cache_type_k: CacheType | None = option(
        "--cache-type-k",
        Group.CONTEXT,
        title="Type of keys",
        help="Smaller types halve the context's memory and cost a little accuracy.",
    )
    cache_type_v: CacheType | None = option(
        "--cache-type-v",
        Group.CONTEXT,
        title="Type of values",
        help="As the type of keys; smaller ones need flash attention.",
    )
    full_window: bool | None = option(
        "--swa-full",
        Group.CONTEXT,
        title="Whole context for windowed layers",
        help="Keep the whole context of layers that see only a window: more memory, reusable prompts.",
    )
    rope_scaling: Literal["none", "linear", "yarn"] | None = option(
        "--rope-scaling",
        Group.CONTEXT,
        title="Context scaling",
        help="How a context beyond the trained one is reached.",
    )
    rope_scale: float | None = option(
        "--rope-scale",
        Group.CONTEXT,
        title="Context scale",
        help="The trained context times this.",
        ge=0.01,
        le=1000,
    )
    flash_attention: Literal["on", "off", "auto"] | None = option(
        "--flash-attn",
        Group.SPEED,
        title="Flash attention",
        help="A faster way to compute attention that needs less memory, where it is supported.",
    )
    split_mode: Literal["none", "layer", "row", "tensor"] | None = option(
        "--split-mode", Group.GPU, title="Split over GPUs", help="How several graphics cards share the model."
    )
    tensor_split: Shares | None = option(
        "--tensor-split",
        Group.GPU,
        title="Shares of the GPUs",
        help="How much of the model each graphics card takes, as proportions.",
        max_length=16,
    )
    main_gpu: int | None = option(
        "--main-gpu",
        Group.GPU,
        title="Main GPU",
        help="The graphics card that computes what is not split.",
        ge=0,
        le=63,
    )
    device: Name | None = option(
        "--device",
        Group.GPU,
        title="Devices",
        help="Devices to use, by the engine's names; none for none.",
    )
    cpu_moe: bool | None = option(
        "--cpu-moe",
        Group.GPU,
        title="Experts on the CPU",
        help="Keep the weights of all experts in main memory, the rest on the GPU.",
    )
    cpu_moe_layers: int | None = option(
        "--n-cpu-moe",
        Group.GPU,
        title="Layers of experts on the CPU",
        help="Keep the experts of so many layers in main memory.",
        unit="layers",
        ge=0,
        le=10_000,
    )
    context_on_gpu: bool | None = option(
        "--kv-offload",
        Group.GPU,
        off="--no-kv-offload",
        title="Context on the GPU",
        help="Keep the context's memory on the graphics card.",
    )
    rpc_workers: Workers | None = option(
        "--rpc",
        Group.GPU,
        title="Other machines",
        help="Machines that compute parts of it: some of runtime.rpc_workers. Nothing is encrypted.",
        max_length=16,
    )
    threads_batch: int | None = option(
        "--threads-batch",
        Group.SPEED,
        title="Threads for prompts",
        help="CPU threads used for reading prompts.",
        unit="threads",
        ge=1,
        le=1024,
    )
    batch_size: int | None = option(
        "--batch-size",
        Group.SPEED,
        title="Batch size",
        help="Tokens of prompts taken together.",
        unit="tokens",
        ge=1,
        le=MAX_TOKENS,
    )
    ubatch_size: int | None = option(
        "--ubatch-size",
        Group.SPEED,
        title="Computed batch size",
        help="Tokens computed in one step; embeddings need their whole text in one.",
        unit="tokens",
        ge=1,
        le=MAX_TOKENS,
    )
    load_mode: Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"] | None = option(
        "--load-mode",
        Group.SPEED,
        title="How to load",
        help="mmap reads the file when needed, mlock keeps it in memory, none reads all of it at once.",
    )
    warmup: bool | None = option(
        "--warmup",
        Group.SPEED,
        off="--no-warmup",
        title="Warm up",
        help="Compute once before the first request, so that it is as quick as the next ones.",
    )
    repack: bool | None = option(
        "--repack",
        Group.SPEED,
        off="--no-repack",
        title="Repack weights",
        help="Arrange the weights for this CPU when loading; some virtual machines cannot run the result.",
    )
    prompt_cache_mib: int | None = option(
        "--cache-ram",
        Group.SPEED,
        title="Prompt cache",
        help="Memory for prompts that may come again; -1 without a limit, 0 for none.",
        unit="MiB",
        ge=-1,
        le=16_777_216,
    )
    reuse_chunk: int | None = option(
        "--cache-reuse",
        Group.SPEED,
        title="Reuse of shifted prompts",
        help="Smallest piece of an earlier prompt that is taken again by shifting; 0 for none.",
        unit="tokens",
        ge=0,
        le=MAX_TOKENS,
    )
    projector: File | None = option(
        "--mmproj",
        Group.FILES,
        title="Projector",
        help="The file that lets it see images or hear; none leaves out the one that belongs to it.",
    )
    projector_on_gpu: bool | None = option(
        "--mmproj-offload",
        Group.FILES,
        off="--no-mmproj-offload",
        title="Projector on the GPU",
        help="Compute images on the graphics card.",
    )
    loras: Files | None = option(
        "--lora",
        Group.FILES,
        title="Adapters",
        help="LoRA files applied to it; style.gguf:0.5 applies one at half its strength.",
        max_length=16,
    )
    draft_model: File | None = option(
        "--spec-draft-model",
        Group.FILES,
        title="Draft model",
        help="A small model of the same family that guesses ahead, which the large one only checks.",
    )
    speculation: (
        Literal[
            "none", "draft-simple", "draft-eagle3", "draft-mtp", "ngram-simple", "ngram-map-k", "ngram-mod"
        ]
        | None
    ) = option(
        "--spec-type",
        Group.FILES,
        title="Guessing ahead",
        help="How tokens are guessed: draft-… by the draft model, ngram-… from the text so far.",
    )
    draft_tokens: int | None = option(
        "--spec-draft-n-max",
        Group.FILES,
        title="Tokens per guess",
        help="The most tokens guessed at a time.",
        unit="tokens",
        ge=1,
        le=1024,
    )
    draft_gpu_layers: int | None = option(
        "--spec-draft-ngl",
        Group.FILES,
        title="GPU layers of the draft",
        help="Layers of the draft model kept on the GPU.",
        unit="layers",
        ge=0,
        le=10_000,
    )
    chat_template: Name | None = option(
        "--chat-template",
        Group.CHAT,
        title="Chat template",
        help="The name of a template built into the engine, in place of the model's own.",
    )
    reasoning: Literal["on", "off", "auto"] | None = option(
        "--reasoning", Group.CHAT, title="Reasoning", help="Whether the model reasons before it answers."
    )
    reasoning_format: Literal["auto", "none", "deepseek", "deepseek-legacy"] | None = option(
        "--reasoning-format",
        Group.CHAT,
        title="Where reasoning goes",
        help="none leaves it in the answer, the others keep it apart.",
    )
    reasoning_budget: int | None = option(
        "--reasoning-budget",
        Group.CHAT,
        title="Reasoning budget",
        help="The most tokens of reasoning; -1 without a limit, 0 ends it at once.",
        unit="tokens",
        ge=-1,
        le=MAX_TOKENS,
    )
    embedding: bool | None = option(
        "--embedding",
        Group.EMBEDDING,
        title="Embeddings only",
        help="Serve embeddings; models made for them are loaded like this anyway.",
    )
    pooling: Literal["none", "mean", "cls", "last", "rank"] | None = option(
        "--pooling",
        Group.EMBEDDING,
        title="Pooling",
        help="How the vectors of a text's tokens become one.",
    )
    rerank: bool | None = option(
        "--rerank", Group.EMBEDDING, title="Ranking", help="Serve the ranking of documents by a question."
    )


def flags_of() -> dict[str, Flag]:
    """Every option's way to the engine, by its name, in the order of the catalogue."""
    found: dict[str, Flag] = {}
    for name, info in LoadOptions.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        found[name] = Flag(str(extra["flag"]), Group(str(extra["group"])), str(extra.get("off", "")))
    return found


def kinds_of(name: str) -> tuple[Any, ...]:
    """What an option takes besides None: Python types, or the texts to choose from."""
    kinds: list[Any] = []
    for part in get_args(LoadOptions.model_fields[name].annotation):
        inner = get_args(part)[0] if get_origin(part) is Annotated else part
        kinds += get_args(inner) if get_origin(inner) is Literal else [get_origin(inner) or inner]
    return tuple(kind for kind in kinds if kind is not type(None))


FLAGS: Final = flags_of()
NO_OPTIONS: Final = LoadOptions()


def parse_options(values: Mapping[str, object]) -> LoadOptions:
    """Options by name. Raises UsageError that names what is unknown or out of bounds."""
    unknown = [name for name in values if name not in LoadOptions.model_fields]
    if unknown:
        raise UsageError(
            f"There is no load option {unknown[0][:60]!r}.", f"Known: {', '.join(LoadOptions.model_fields)}."
        )
    try:
        return LoadOptions.model_validate(dict(values), strict=False)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        name = str(fault["loc"][0])
        expected = setting_info(name, LoadOptions.model_fields[name]).expectation
        raise UsageError(
            f"The load option {name} cannot be {str(fault['input'])[:40]}: it must be {expected}.",
            "Leave it out to let the engine choose.",
        ) from error
