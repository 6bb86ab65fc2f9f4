"""Constants of the GGUF format and of ggml's types, and what a file that is not GGUF really is."""

from typing import Final

MAGIC: Final = b"GGUF"
DEFAULT_ALIGNMENT: Final = 32

# Value types of a key; bytes of a fixed-size one.
UINT32: Final = 4
BOOL: Final = 7
STRING: Final = 8
ARRAY: Final = 9
SCALAR_FORMATS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    UINT32: "<I",
    5: "<i",
    6: "<f",
    BOOL: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
INTEGERS: Final = frozenset({0, 1, 2, 3, 4, 5, 10, 11})
SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

# ggml tensor type: elements per block, bytes per block.
TENSOR_BLOCKS: Final = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}

# `general.file_type`: how most of the weights are quantized.
FILE_TYPES: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}

# First bytes of what people rename or download by mistake.
_BINARY_MAGIC: Final = (
    (b"\x7fELF", "a Linux program"),
    (b"MZ", "a Windows program"),
    (b"PK\x03\x04", "a ZIP archive (or a PyTorch model)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x89PNG", "a PNG picture"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x02", "a Python pickle (an old PyTorch model)"),
    (b"lmgg", "a model in a format older than GGUF (GGML)"),
    (b"fmgg", "a model in a format older than GGUF (GGMF)"),
    (b"tjgg", "a model in a format older than GGUF (GGJT)"),
    (b"algg", "an adapter in a format older than GGUF (GGLA)"),
    (b"FUGG", "a GGUF file with reversed byte order"),
)
_TEXT_STARTS: Final = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"<!doctype html", "a web page, probably an error page saved by a download"),
    (b"<html", "a web page, probably an error page saved by a download"),
    (b"<?xml", "an XML document, probably an error message saved by a download"),
    (b"{", "a JSON document, probably an error message saved by a download"),
    (b"#!", "a script"),
)
_SAFETENSORS_JSON_AT: Final = 8


def really_is(start: bytes) -> str | None:
    """What a file with these first bytes is, as a noun phrase; None when it cannot be told."""
    if not start:
        return "an empty file"
    for magic, what in _BINARY_MAGIC:
        if start.startswith(magic):
            return what
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, what in _TEXT_STARTS:
        if text.startswith(beginning):
            return what
    if start[_SAFETENSORS_JSON_AT : _SAFETENSORS_JSON_AT + 2] == b'{"':
        return "a safetensors model"
    if not start.strip(b"\0"):
        return "full of zeros, as an unfinished download is"
    return None
