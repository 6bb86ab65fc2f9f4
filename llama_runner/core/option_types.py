"""What the texts among load options may be: names, files, engines, machines. Nothing that could be an option.

`core.load_options` declares the options with these types.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from llama_runner.core.fields import BadText, Takes, check_model_path

NAME: Final = Takes("a name of letters, digits and . _ : - only, several with commas between them")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(,[A-Za-z0-9][A-Za-z0-9._:-]*)*")


def check_name(text: str) -> str:
    """`text` when it can be nothing but a name: no path, no option, no template."""
    if not _NAME.fullmatch(text) or len(text) > 200:
        raise BadText(NAME.words)
    return text


FILE: Final = Takes("the name of a model file, or its path, of at most 1024 characters and without commas")
ENGINE: Final = Takes("a name of at most 64 letters, digits and . _ - only")
WORKER: Final = Takes("the host and port of a machine of yours, such as 192.168.1.20:50052")
_ENGINE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORKER: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252}):([0-9]{1,5})")
# Engines separate files by commas, and no file name is longer.
_MAX_FILE_CHARS: Final = 1024


def check_file(text: str) -> str:
    """`text` when it can name a file and nothing else. Where it may lie is checked when it is used."""
    if "," in text or len(text) > _MAX_FILE_CHARS:
        raise BadText(FILE.words)
    return check_model_path(text)


def check_engine_name(text: str) -> str:
    """`text` when it can be the name of an engine."""
    if not _ENGINE.fullmatch(text):
        raise BadText(ENGINE.words)
    return text


def check_worker(text: str) -> str:
    """`text` when it is a host and a port."""
    found = _WORKER.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65_536:
        raise BadText(WORKER.words)
    return text


Name = Annotated[str, AfterValidator(check_name), NAME]
EngineName = Annotated[str, AfterValidator(check_engine_name), ENGINE]
File = Annotated[str, AfterValidator(check_file), FILE]
# JSON has lists only: the tuple itself is taken from a list, its items stay strict.
Files = Annotated[tuple[File, ...], Field(strict=False)]
Worker = Annotated[str, AfterValidator(check_worker), WORKER]
Workers = Annotated[tuple[Worker, ...], Field(strict=False)]
Shares = Annotated[tuple[float, ...], Field(strict=False)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
# Bytes of one number in the context's memory: blocks of 32 with their scales (ggml's block sizes).
CACHE_BYTES: Final[dict[str, float]] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
