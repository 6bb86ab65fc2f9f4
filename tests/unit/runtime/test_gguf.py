import os
import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_runner.core.errors import ModelFileError
from llama_runner.runtime import gguf_format
from llama_runner.runtime.gguf import read_gguf
from tests.fakes.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    GOOD_KEYS,
    I32,
    STRING,
    U32,
    U64,
    array,
    good_file,
    header,
    key,
    tensor,
    text,
)

HUGE = 1 << 60
MIB = 1 << 20


def _error(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_gguf(path)
    assert caught.value.hint
    return caught.value.message


def _read(tmp_path: Path, content: bytes) -> object:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    return read_gguf(path)


def test_a_real_model_is_read_whole(demo_model: Path) -> None:
    found = read_gguf(demo_model)
    assert found.architecture == "llama"
    assert found.quantization == "Q4_1"
    assert found.context_length == 8192
    assert found.block_count == 30
    assert found.embedding_length == 576
    assert found.n_tensors == 272
    assert found.file_size_bytes == demo_model.stat().st_size
    assert found.chat_template_sha256 is not None
    assert found.kind == "model"
    assert found.warnings == ()


def test_a_small_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        good_file(key("split.count", U32, 3), key("a.flag", BOOL, 1), key("a.temperature", F32, 0.5))
    )
    found = read_gguf(path)
    assert (found.name, found.quantization, found.context_length) == ("Tiny", "Q4_K_M", 2048)
    assert found.split_count == 3
    assert found.expert_bytes == 0


def test_the_experts_of_a_model_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    names = (
        "blk.0.ffn_up_exps.weight",
        "blk.0.attn_q.weight",
        "blk.1.ffn_gate_chexps.weight",
        "x" * 300 + "exps",
    )
    tensors = [tensor(name, (64, 2), offset=512 * place) for place, name in enumerate(names)]
    path.write_bytes(header(GOOD_KEYS, tensors, data=b"\0" * 512 * len(names)))
    assert read_gguf(path).expert_bytes == 2 * 512


@pytest.mark.parametrize(
    "content",
    [b"", b"G", b"GGUF", b"GGUF" + b"\3\0\0\0" + b"\0" * 15, b"FUGG" + b"\0" * 60, b"hello, world" * 9],
)
def test_g1_what_is_too_short_or_has_another_magic_is_not_gguf(tmp_path: Path, content: bytes) -> None:
    assert "is not a GGUF file" in _error(tmp_path, content)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (0, "too old"),
        (1, "too old"),
        (4, "newer"),
        (99, "newer"),
        (3 << 24, "big-endian"),
        (2 << 24, "big-endian"),
    ],
)
def test_g2_other_versions_are_refused_by_name(tmp_path: Path, version: int, said: str) -> None:
    assert said in _error(tmp_path, header(version=version))


def test_g2_version_2_is_read(tmp_path: Path) -> None:
    _read(tmp_path, header(GOOD_KEYS, version=2))


@pytest.mark.parametrize("count", [HUGE, (1 << 64) - 1, 32_769])
def test_g3_impossible_counts_are_refused_before_any_loop(tmp_path: Path, count: int) -> None:
    assert "keys" in _error(tmp_path, header(n_keys=count))
    assert "tensors" in _error(tmp_path, header(n_tensors=count))


def test_g3_more_keys_than_the_file_holds_is_damage(tmp_path: Path) -> None:
    assert "damaged" in _error(tmp_path, header(GOOD_KEYS, n_keys=5000))


@pytest.mark.parametrize("length", [1 << 62, 0, 70_000])
def test_g4_key_lengths_are_checked(tmp_path: Path, length: int) -> None:
    assert "key" in _error(tmp_path, header([struct.pack("<Q", length) + b"abc"], n_keys=1))


@pytest.mark.parametrize("length", [1 << 40, 1 << 63, 500])
def test_g5_a_text_beyond_the_end_is_refused(tmp_path: Path, length: int) -> None:
    bad = text("general.name") + struct.pack("<IQ", STRING, length) + b"abc"
    assert "damaged" in _error(tmp_path, header([bad]))


@pytest.mark.parametrize(
    "body",
    [
        array(U32, 1 << 40),
        array(U64, 1 << 62),
        array(STRING, 1 << 40),
        array(STRING, 5_000_000, b"\0" * 40_000_000),
        array(STRING, 3, text("a") + struct.pack("<Q", 1 << 50)),
        array(STRING, 3, struct.pack("<Q", 1 << 63) + b"\0" * 100),
        array(ARRAY, 2, array(ARRAY, 1, array(ARRAY, 1))),
        array(77, 1, b"\0" * 8),
    ],
)
def test_g6_hostile_arrays_are_refused(tmp_path: Path, body: bytes) -> None:
    assert "damaged" in _error(tmp_path, header([key("tokens", ARRAY, body)]))


def test_g6_many_large_arrays_share_one_budget(tmp_path: Path) -> None:
    one = array(STRING, 1 << 19, b"\0" * (8 << 19))
    assert "list of" in _error(tmp_path, header([key(f"t{n}", ARRAY, one) for n in range(5)]))


def test_g6_a_large_numeric_array_is_skipped_by_arithmetic(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("scores", ARRAY, array(F32, 1 << 36))
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + (4 << 36))
    # Two hundred GiB on paper: reading them would take longer than any test may.
    assert read_gguf(path).n_tensors == 0


def test_g7_unknown_types_and_bad_booleans_are_refused(tmp_path: Path) -> None:
    assert "type 77" in _error(tmp_path, header([key("x", 77, b"\0" * 8)]))
    assert "7" in _error(tmp_path, header([key("x", BOOL, 7)]))


def test_g8_of_a_repeated_key_the_first_counts_and_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(good_file(key("general.name", STRING, "Second")))
    found = read_gguf(path)
    assert found.name == "Tiny"
    assert "general.name" in found.warnings[0]


def test_g8_invalid_utf8_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        header([key("general.name", STRING, b"a\xff\xfeb"), key(b"\xff\xfe", U32, 1), *GOOD_KEYS[:1]])
    )
    assert read_gguf(path).name == "a\ufffd\ufffdb"


@pytest.mark.parametrize("alignment", [0, 13, 1 << 31])
def test_g9_impossible_alignments_are_refused(tmp_path: Path, alignment: int) -> None:
    assert "alignment" in _error(tmp_path, header([key("general.alignment", U32, alignment)]))
    assert "alignment" in _error(tmp_path, header([key("general.alignment", STRING, "x")]))


def test_g10_impossible_shapes_are_refused(tmp_path: Path) -> None:
    many = text("t") + struct.pack("<I", 1 << 31)
    assert "dimensions" in _error(tmp_path, header(tensors=[many], data=b"\0" * 64))
    assert "values" in _error(tmp_path, header(tensors=[tensor("t", (1 << 63, 1 << 63))]))


def test_g10_an_empty_tensor_is_allowed(tmp_path: Path) -> None:
    _read(tmp_path, header(tensors=[tensor("t", (0, 4))]))


def test_g11_a_file_cut_short_says_how_much_is_missing(tmp_path: Path) -> None:
    whole = header(GOOD_KEYS, [tensor("t", (64, 64))], data=b"\0" * (64 * 64 * 4))
    _read(tmp_path, whole)
    assert "is incomplete: 1000 B are missing" in _error(tmp_path, whole[:-1000])


def test_g11_a_tensor_off_its_alignment_is_damage(tmp_path: Path) -> None:
    assert "aligned" in _error(tmp_path, header(tensors=[tensor("t", (1,), offset=3)], data=b"\0" * 64))


def test_g11_tensors_that_overlap_are_damage(tmp_path: Path) -> None:
    """llama.cpp refuses them as well; side by side they are fine, in whatever order they are described."""
    first, second = tensor("a", (64,), offset=256), tensor("b", (64,), offset=0)
    _read(tmp_path, header(GOOD_KEYS, [first, second], data=b"\0" * 512))
    overlapping = tensor("c", (64,), offset=128)
    assert "overlap" in _error(tmp_path, header(GOOD_KEYS, [second, overlapping], data=b"\0" * 512))


def test_g11_empty_tensors_share_their_place(tmp_path: Path) -> None:
    _read(tmp_path, header(GOOD_KEYS, [tensor("a", (0,)), tensor("b", (64,))], data=b"\0" * 256))


def test_g12_nonsense_counts_become_unknown(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        header(
            [
                key("general.architecture", STRING, "llama"),
                key("llama.block_count", I32, -1),
                key("llama.context_length", U64, 1 << 63),
                key("llama.embedding_length", STRING, "many"),
                key("general.file_type", U32, 4711),
            ]
        )
    )
    found = read_gguf(path)
    assert found.block_count is None
    assert found.context_length is None
    assert found.embedding_length is None
    assert found.quantization is None
    assert found.context_bytes_per_token is None


def test_g12_a_list_of_heads_per_layer_is_summed_and_a_hostile_one_passed(tmp_path: Path) -> None:
    shape = [
        key("general.architecture", STRING, "llama"),
        key("llama.block_count", U32, 2),
        key("llama.embedding_length", U32, 64),
        key("llama.attention.head_count", U32, 2),
    ]
    name = "llama.attention.head_count_kv"
    path = tmp_path / "x.gguf"
    path.write_bytes(header([*shape, key(name, ARRAY, array(I32, 2, struct.pack("<2i", 2, 1)))]))
    assert read_gguf(path).context_bytes_per_token == 3 * (32 + 32) * 2
    path.write_bytes(header([*shape, key(name, ARRAY, array(I32, 2, struct.pack("<2i", -5, -5)))]))
    assert read_gguf(path).context_bytes_per_token is None
    # Longer than any model is deep: passed by arithmetic.
    path.write_bytes(header([*shape, key(name, ARRAY, array(I32, 50_000, bytes(200_000)))]))
    assert read_gguf(path).context_bytes_per_token == 2 * 2 * (32 + 32) * 2


def test_g12_heads_of_zero_divide_nothing(tmp_path: Path) -> None:
    keys = (
        *GOOD_KEYS,
        key("llama.attention.head_count", U32, 0),
        key("llama.attention.head_count_kv", U32, 0),
    )
    path = tmp_path / "x.gguf"
    path.write_bytes(header(keys, [tensor("t", (64,))], data=b"\0" * 256))
    assert read_gguf(path).context_bytes_per_token is None


def test_g13_a_hostile_name_is_cut_and_made_visible(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(header([key("general.name", STRING, "a\u202eb<b>" + "x" * 10_000_000)]))
    tracemalloc.start()
    name = read_gguf(path).name
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert name is not None
    assert len(name) <= 256
    assert "\u202e" not in name
    assert peak < 8_000_000


def test_g14_a_template_is_hashed_and_never_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(good_file(key("tokenizer.chat_template", STRING, "{{ ''.__class__ }}")))
    first = read_gguf(path)
    assert first.chat_template_sha256 is not None
    assert "__class__" not in repr(first)


def test_g14_a_template_of_fifty_megabytes_is_passed(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(good_file(key("tokenizer.chat_template", STRING, "x" * 50_000_000)))
    found = read_gguf(path)
    assert found.chat_template_sha256 is None
    assert found.name == "Tiny"


def test_names_of_files_steer_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred.gguf"
    path.write_bytes(b"<html>")
    with pytest.raises(ModelFileError) as caught:
        read_gguf(path)
    assert "\x1b" not in caught.value.message


def test_what_a_header_says_of_its_origin_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        good_file(
            key("general.basename", STRING, "Tiny"),
            key("general.size_label", STRING, "8M"),
            key("general.license", STRING, "apache-2.0"),
            key("general.base_model.0.name", STRING, "Tiny Base"),
        )
    )
    found = read_gguf(path)
    assert (found.base_name, found.size_label) == ("Tiny", "8M")
    assert (found.license, found.base_model) == ("apache-2.0", "Tiny Base")


FIM = ("pre", "suf", "mid")


def vocabulary(*tokens: str) -> bytes:
    return key("tokenizer.ggml.tokens", ARRAY, array(STRING, len(tokens), b"".join(map(text, tokens))))


def test_a_token_is_found_wherever_a_read_ends(tmp_path: Path) -> None:
    """The header is read a megabyte at a time."""
    path = tmp_path / "x.gguf"
    rest = ("<|fim_suffix|>", "<|fim_middle|>")
    for missing in range(40):
        filler = "x" * ((1 << 20) - len(good_file()) + 480 - missing)
        path.write_bytes(good_file(vocabulary(filler, "<|fim_prefix|>", *rest)))
        assert read_gguf(path).capabilities == ("completion", "insert"), missing


@pytest.mark.parametrize(
    ("keys", "capabilities"),
    [
        ([], ("completion",)),
        ([key("llama.pooling_type", U32, 1)], ("embedding",)),
        ([key("llama.pooling_type", U32, 4)], ("embedding", "rerank")),
        (
            [key("tokenizer.chat_template", STRING, "{% if tools %}<think></think>")],
            ("completion", "tools", "thinking"),
        ),
        ([key(f"tokenizer.ggml.fim_{part}_token_id", U32, 7) for part in FIM], ("completion", "insert")),
        ([key(f"tokenizer.ggml.fim_{part}_token_id", U32, 7) for part in FIM[:2]], ("completion",)),
        (
            [key(f"tokenizer.ggml.{part}_token_id", U32, 7) for part in ("prefix", "suffix", "middle")],
            ("completion", "insert"),
        ),
        ([vocabulary("<|fim_prefix|>", "x", "<|fim_suffix|>", "<|fim_middle|>")], ("completion", "insert")),
        ([vocabulary("<PRE>", "▁<SUF>", "<｜fim▁end｜>")], ("completion", "insert")),
        ([vocabulary("<|fim_prefix|>", "<|fim_suffix|>", "<PRE>")], ("completion",)),
        ([vocabulary("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|", "x<MID>")], ("completion",)),
    ],
)
def test_capabilities_are_told_by_the_header(
    tmp_path: Path, keys: list[bytes], capabilities: tuple[str, ...]
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(good_file(*keys))
    assert read_gguf(path).capabilities == capabilities


@pytest.mark.parametrize(
    ("senses", "capabilities"),
    [([], ("vision",)), (["audio"], ("audio",)), (["vision", "audio"], ("vision", "audio"))],
)
def test_a_projector_tells_what_it_adds(
    tmp_path: Path, senses: list[str], capabilities: tuple[str, ...]
) -> None:
    path = tmp_path / "x.gguf"
    flags = [key(f"clip.has_{sense}_encoder", BOOL, 1) for sense in senses]
    path.write_bytes(header([key("general.architecture", STRING, "clip"), *flags]))
    found = read_gguf(path)
    assert (found.kind, found.capabilities) == ("mmproj", capabilities)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x7fELF\2\1\1", "a Linux program"),
        (b"MZ\x90\0", "a Windows program"),
        (b"PK\3\4", "a ZIP archive"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\xef\xbb\xbf  <HTML>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b'{"error":"not found"}', "a JSON document"),
        (struct.pack("<Q", 99) + b'{"__metadata__":', "a safetensors model"),
        (b"tjgg\3\0\0\0", "older than GGUF"),
        (b"\0" * 600, "full of zeros"),
        (b"#!/bin/sh\n", "a script"),
        (b"", "an empty file"),
    ],
)
def test_g17_the_error_names_what_the_file_really_is(tmp_path: Path, start: bytes, said: str) -> None:
    assert said in _error(tmp_path, start + (b"\0" * 40 if start else b""))


def test_a_missing_file_a_folder_and_a_pipe_are_told_without_hanging(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        read_gguf(tmp_path / "nowhere.gguf")
    with pytest.raises(ModelFileError, match="not a file"):
        read_gguf(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.gguf")
        with pytest.raises(ModelFileError, match="not a file"):
            read_gguf(tmp_path / "pipe.gguf")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_gives_anything_but_a_header_or_a_model_file_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(good_file(key("tokens", ARRAY, array(STRING, 2, text("a") + text("b")))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.gguf"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read_gguf(path)
    except ModelFileError as error:
        assert error.message and error.hint


def test_our_tables_are_those_of_the_format() -> None:
    for kind, sizes in gguf.GGML_QUANT_SIZES.items():
        assert gguf_format.TENSOR_BLOCKS[int(kind)] == sizes, kind
    for file_type in gguf.LlamaFileType:
        name = file_type.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        if name != "GUESSED":
            assert gguf_format.FILE_TYPES[int(file_type)] == name
