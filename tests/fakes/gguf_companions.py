"""What goes with `write_tiny_llama`: a projector for pictures, a LoRA adapter, and the same in two parts.

The real engine loads them; what the model says about a picture is noise, but not the noise it says without.
"""

import struct
from pathlib import Path

import gguf
import numpy as np

from llama_runner.runtime.gguf_format import SCALAR_BYTES
from tests.fakes.gguf_files import ARRAY, I32, STRING, U16, header, key, tensor

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


def split_in_two(whole: Path, folder: Path, stem: str) -> Path:
    """The model in `whole` as two files, cut as llama.cpp's own tool cuts; returns the first."""
    data = whole.read_bytes()
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    keys_end = 24
    for _ in range(n_keys):
        keys_end = _after_key(data, keys_end)
    infos, at = [], keys_end
    for _ in range(n_tensors):
        info, at = _tensor_info(data, at)
        infos.append(info)
    blob = data[-(-at // 32) * 32 :]
    half = n_tensors // 2
    paths = [folder / f"{stem}-{number:05d}-of-00002.gguf" for number in (1, 2)]
    for number, part in enumerate((infos[:half], infos[half:])):
        more = [
            key("split.no", U16, number),
            key("split.count", U16, 2),
            key("split.tensors.count", I32, n_tensors),
        ]
        start = part[0][3]
        end = infos[half][3] if number == 0 else len(blob)
        tensors = [tensor(name, shape, kind, offset - start) for name, shape, kind, offset in part]
        kept = [data[24:keys_end]] if number == 0 else []
        count = len(more) + (n_keys if number == 0 else 0)
        paths[number].write_bytes(header([*kept, *more], tensors, n_keys=count, data=blob[start:end]))
    return paths[0]


def _after_text(data: bytes, at: int) -> int:
    (length,) = struct.unpack_from("<Q", data, at)
    return at + 8 + int(length)


def _after_key(data: bytes, at: int) -> int:
    at = _after_text(data, at)
    (kind,) = struct.unpack_from("<I", data, at)
    at += 4
    if kind == STRING:
        return _after_text(data, at)
    if kind != ARRAY:
        return at + SCALAR_BYTES[kind]
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner != STRING:
        return at + int(count) * SCALAR_BYTES[inner]
    for _ in range(count):
        at = _after_text(data, at)
    return at


def _tensor_info(data: bytes, at: int) -> tuple[tuple[str, tuple[int, ...], int, int], int]:
    end = _after_text(data, at)
    name = data[at + 8 : end].decode()
    (n_dimensions,) = struct.unpack_from("<I", data, end)
    shape = struct.unpack_from(f"<{n_dimensions}Q", data, end + 4)
    kind, offset = struct.unpack_from("<IQ", data, end + 4 + 8 * n_dimensions)
    return (name, shape, kind, offset), end + 4 + 8 * n_dimensions + 12


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
