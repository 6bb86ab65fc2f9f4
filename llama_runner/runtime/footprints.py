"""What loads really took, remembered across restarts: memory and time by file and options."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import StorageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.catalogue import ModelFile

log = logging.getLogger(__name__)

MAX_BYTES: Final = 1024 * 1024
# One per model and set of options; a person has tens.
MAX_KEPT: Final = 500
FILE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Footprint:
    """One load that became ready.

    Attributes:
        ram_bytes: The most resident memory seen.
        load_s: From spawn to ready.
        vram_bytes: The most memory of graphics cards; None where the driver does not tell.
    """

    ram_bytes: int
    load_s: float
    vram_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    footprints: dict[str, Footprint]


_ADAPTER: Final = TypeAdapter(_File)


class Footprints:
    """Reads `<data>/footprints.json` once, writes it when something new was learned. Blocking, small.

    A file that is not understood is begun anew: everything in it can be measured again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Footprint] = {}
        self._load()

    def of(self, model: ModelFile, options: LoadOptions) -> Footprint | None:
        """What an earlier load of the same file with the same options took."""
        return self._known.get(_key(model, options))

    def learn(self, model: ModelFile, options: LoadOptions, seen: Footprint) -> Callable[[], None] | None:
        """Remember a load; returns what writes it to disk, for a thread to call, if it says anything new."""
        key = _key(model, options)
        known = self._known.pop(key, None)
        ram_bytes = max(seen.ram_bytes, known.ram_bytes if known else 0)
        vram = [one for one in (seen.vram_bytes, known.vram_bytes if known else None) if one is not None]
        learned = Footprint(ram_bytes, round(seen.load_s, 3), max(vram, default=None))
        self._known[key] = learned
        while len(self._known) > MAX_KEPT:
            del self._known[next(iter(self._known))]
        if known is not None and replace(learned, load_s=known.load_s) == known:
            return None
        content: dict[str, JsonValue] = {name: asdict(one) for name, one in self._known.items()}
        return lambda: self._write(content)

    def _write(self, content: dict[str, JsonValue]) -> None:
        try:
            write_atomic(self._path, dump_json({"version": FILE_VERSION, "footprints": content}, indent=2))
        except StorageError as error:
            log.warning("footprints not saved reason=%s", error)

    def _load(self) -> None:
        try:
            data = read_bounded(self._path, max_bytes=MAX_BYTES)
        except StorageError as error:
            log.warning("footprints not read reason=%s", error)
            return
        if data is None:
            return
        try:
            self._known = dict(_ADAPTER.validate_json(data).footprints)
        except ValidationError as error:
            log.warning("footprints not understood errors=%d", error.error_count())


def _key(model: ModelFile, options: LoadOptions) -> str:
    chosen = ",".join(f"{name}={value}" for name, value in options.model_dump(exclude_none=True).items())
    return f"{model.path}|{model.size_bytes}|{chosen}"
