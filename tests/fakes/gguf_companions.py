"""What goes with `write_tiny_llama`: a random projector that lets it take pictures, a random LoRA adapter.

The real engine loads both; what the model says about a picture is noise, but not the noise it says without.
"""

from pathlib import Path

import gguf
import numpy as np

# The width of the tiny llama; a projector's tokens must have the same.
WIDTH = 64
_RANK = 4


def write_tiny_projector(path: Path, *, name: str = "tiny", seed: int = 0) -> Path:
    """A random LLaVA projector, about 90 kB: a picture becomes 16 tokens."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name(name)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_projection_dim(WIDTH)
    writer.add_vision_image_size(64)
    writer.add_vision_patch_size(16)
    writer.add_vision_embedding_length(32)
    writer.add_vision_feed_forward_length(64)
    writer.add_vision_block_count(1)
    writer.add_vision_head_count(2)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_use_gelu(True)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_projector_tensors(writer, np.random.default_rng(seed))
    return _write(writer, path)


def write_tiny_adapter(path: Path, *, base_model: str = "tiny", seed: int = 0) -> Path:
    """A random LoRA adapter for the tiny llama, strong enough to change every answer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 64.0)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base_model)
    rng = np.random.default_rng(seed)
    for layer in range(2):
        for part in ("attn_q", "attn_v", "attn_output"):
            for end, shape in (("lora_a", (_RANK, WIDTH)), ("lora_b", (WIDTH, _RANK))):
                values = rng.normal(0, 1, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{part}.weight.{end}", values)
    return _write(writer, path)


def _add_projector_tensors(writer: gguf.GGUFWriter, rng: np.random.Generator) -> None:
    def add(name: str, *shape: int) -> None:
        values = rng.normal(0, 0.02, shape)
        writer.add_tensor(name, values.astype(np.float16 if len(shape) > 2 else np.float32))

    def add_pair(name: str, *shape: int) -> None:
        add(f"{name}.weight", *shape)
        add(f"{name}.bias", shape[0])

    add_pair("v.patch_embd", 32, 3, 16, 16)
    add("v.position_embd.weight", 16, 32)
    for part in ("ln1", "ln2"):
        add_pair(f"v.blk.0.{part}", 32)
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        add_pair(f"v.blk.0.{part}", 32, 32)
    add_pair("v.blk.0.ffn_up", 64, 32)
    add_pair("v.blk.0.ffn_down", 32, 64)
    add_pair("v.post_ln", 32)
    add_pair("mm.0", WIDTH, 32)
    add_pair("mm.2", WIDTH, WIDTH)


def _write(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
