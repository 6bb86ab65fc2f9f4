"""A home, tiny real models and a real service for a soak."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from llama_runner.core.paths import create_folders, home_at
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import ServiceProcess, started

ROOT: Final = Path(__file__).resolve().parents[2]
MODELS: Final = ("a", "b", "c")
# How often a watched service writes its number of tasks.
EVERY_S: Final = 0.25
# Tiny, on one thread, with a context that leaves slots enough: three of them beside the load on two cores.
_PARAMETERS: Final = {"context_length": 1024, "threads": 1, "parallel": 2}


def furnish(home: Path, vocabulary_of: Path) -> None:
    """Three models of random weights, which the engine loads in less than half a second."""
    create_folders(home_at(home))
    file = write_tiny_llama(home / "tiny.gguf", vocabulary_of)
    models = {name: {"path": str(file), "parameters": _PARAMETERS} for name in MODELS}
    home_at(home).models_config_file.write_text(json.dumps({"version": 1, "models": models}))


def tasks_file(home: Path) -> Path:
    """Where the service of `home` writes how many tasks it has."""
    return home / "tasks"


@contextmanager
def serving(home: Path, engine: Path) -> Iterator[ServiceProcess]:
    """A service of `home` with both proxies; ended in any case."""
    log = home / "stderr.txt"
    argv = [sys.executable, "-m", "tests.soak.watched", str(tasks_file(home)), "serve", "--json"]
    argv += ["--home", str(home), "--engine", str(engine), "--control", "127.0.0.1:0"]
    argv += ["--openai", "127.0.0.1:0", "--ollama", "127.0.0.1:0"]
    with started(argv, home, log=log, cwd=ROOT) as service:
        yield service
