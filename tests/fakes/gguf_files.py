"""GGUF files for tests: headers built byte by byte, a tiny random llama that the real engine loads, copies.

The random model takes its vocabulary from a real model, so that text goes in and comes out.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}


def text(value: str | bytes) -> bytes:
    """A GGUF string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, value: Any) -> bytes:
    """One key with its value; a value of type ARRAY or of an unknown type is given as bytes."""
    if isinstance(value, bytes) and kind != STRING:
        body = value
    elif kind == STRING:
        body = text(value)
    else:
        body = struct.pack("<" + _FORMATS[kind], value)
    return text(name) + struct.pack("<I", kind) + body


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    """An array value that claims `count` items."""
    return struct.pack("<IQ", kind, count) + body


def tensor(name: str, shape: Iterable[int], kind: int = 0, offset: int = 0) -> bytes:
    """One tensor's description."""
    dims = tuple(shape)
    return text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)


def header(
    keys: Iterable[bytes] = (),
    tensors: Iterable[bytes] = (),
    *,
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    data: bytes = b"",
) -> bytes:
    """A whole file; the counts may lie."""
    keys, tensors = list(keys), list(tensors)
    counts = struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(keys) if n_keys is None else n_keys,
    )
    body = b"GGUF" + counts + b"".join(keys) + b"".join(tensors)
    return body + b"\0" * (-len(body) % 32) + data


GOOD_KEYS = (
    key("general.architecture", STRING, "llama"),
    key("general.name", STRING, "Tiny"),
    key("llama.context_length", U32, 2048),
    key("llama.block_count", U32, 2),
    key("llama.embedding_length", U32, 64),
    key("general.file_type", U32, 15),
)


def good_file(*more: bytes) -> bytes:
    """A small file that the header reader accepts."""
    return header([*GOOD_KEYS, *more], [tensor("token_embd.weight", (64, 2))], data=b"\0" * 512)


def write_tiny_llama(
    path: Path,
    vocabulary_of: Path,
    *,
    name: str = "tiny",
    seed: int = 0,
    template: str | None = None,
    infills: bool = False,
) -> Path:
    """A random llama of 2 layers, 64 wide, about 8 MB, that the real engine loads in 0.2 s.

    Args:
        template: Its chat template; None for the one of the model that the vocabulary is from.
        infills: It has the tokens for filling in the middle.
    """
    source = gguf.GGUFReader(vocabulary_of)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(32)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    n_vocab = _copy_vocabulary(source, writer, template)
    if infills:
        # Any three tokens: the weights are random.
        for place, part in enumerate(("pre", "suf", "mid")):
            writer.add_uint32(f"tokenizer.ggml.fim_{part}_token_id", 10 + place)
    _add_random_tensors(writer, n_vocab, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def copy_with_template(path: Path, source: Path, template: str) -> Path:
    """A real model with another chat template: the rest of the header and the weights as they are."""
    reader = gguf.GGUFReader(source)
    field = reader.get_field("tokenizer.chat_template")
    assert field is not None
    raw = source.read_bytes()
    last = reader.tensors[-1].field
    header_end = last.offset + sum(part.nbytes for part in last.parts)
    after = field.offset + sum(part.nbytes for part in field.parts)
    head = raw[: field.offset] + key("tokenizer.chat_template", STRING, template) + raw[after:header_end]
    # Places of tensors count from the data's beginning, which stands on a multiple of the alignment.
    path.write_bytes(head + b"\0" * (-len(head) % reader.alignment) + raw[reader.data_offset :])
    return path


def _copy_vocabulary(source: gguf.GGUFReader, writer: gguf.GGUFWriter, template: str | None) -> int:
    def content(field_name: str) -> Any:
        field = source.get_field(field_name)
        assert field is not None, field_name
        return field.contents()

    tokens = content("tokenizer.ggml.tokens")
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(content("tokenizer.ggml.model"))
    writer.add_tokenizer_pre(content("tokenizer.ggml.pre"))
    writer.add_token_list(tokens)
    writer.add_token_types(content("tokenizer.ggml.token_type"))
    writer.add_token_merges(content("tokenizer.ggml.merges"))
    writer.add_bos_token_id(content("tokenizer.ggml.bos_token_id"))
    writer.add_eos_token_id(content("tokenizer.ggml.eos_token_id"))
    writer.add_chat_template(template or content("tokenizer.chat_template"))
    return len(tokens)


def _add_random_tensors(writer: gguf.GGUFWriter, n_vocab: int, rng: np.random.Generator) -> None:
    def add(tensor_name: str, *shape: int) -> None:
        values = rng.normal(0, 0.02, shape)
        writer.add_tensor(tensor_name, values.astype(np.float16 if len(shape) > 1 else np.float32))

    add("token_embd.weight", n_vocab, 64)
    add("output_norm.weight", 64)
    for layer in range(2):
        for part in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{part}.weight", 64)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}.weight", 64, 64)
        add(f"blk.{layer}.ffn_gate.weight", 128, 64)
        add(f"blk.{layer}.ffn_up.weight", 128, 64)
        add(f"blk.{layer}.ffn_down.weight", 64, 128)
