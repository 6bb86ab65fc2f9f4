"""The run file: how the programs of one home find its service, and the token that lets them in.

Written by the service only, private to the user. Whoever reads it checks pid and start time before the token
goes anywhere: the pid may belong to a stranger by now.
"""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import ServiceError, StorageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.core.jsonio import dump_json
from llama_runner.core.paths import Home
from llama_runner.system.identity import ProcessIdentity, is_same

log = logging.getLogger(__name__)

# Five short fields; anything longer was not written by us.
MAX_BYTES: Final = 4096


class AlreadyRunningError(ServiceError):
    """Another service has this home."""

    kind = "already_running"


@dataclass(frozen=True, slots=True)
class RunFile:
    """One running service.

    Attributes:
        create_time: When the process started, as `system.identity` counts; tells a recycled pid.
        url: Base URL of the control API.
        token: What every request to it must carry.
    """

    pid: int
    create_time: float
    url: str
    token: str = field(repr=False)
    version: str

    @property
    def process(self) -> ProcessIdentity:
        """Who wrote it."""
        return ProcessIdentity(self.pid, self.create_time)


_ADAPTER: Final = TypeAdapter(RunFile)


def run_file_path(home: Home) -> Path:
    """Where the run file of `home` is."""
    return home.run_dir / "service.json"


def lock_path(home: Home) -> Path:
    """The lock that the one service of `home` holds as long as it lives."""
    return home.run_dir / "service.lock"


def write_run_file(home: Home, content: RunFile) -> None:
    """Publish the service; replaces a stale file. Raises StorageError."""
    write_atomic(run_file_path(home), dump_json(asdict(content), indent=2))


def read_run_file(home: Home) -> RunFile | None:
    """What the run file says, None when there is none or it is not one of ours."""
    path = run_file_path(home)
    try:
        data = read_bounded(path, max_bytes=MAX_BYTES)
        return None if data is None else _ADAPTER.validate_json(data)
    except (StorageError, ValidationError) as error:
        log.warning("run file ignored path=%s reason=%s", path, type(error).__name__)
        return None


def running_service(home: Home) -> RunFile | None:
    """The run file of the service that runs now; None when there is none or its process is gone."""
    content = read_run_file(home)
    return content if content is not None and is_same(content.process) else None


def remove_run_file(home: Home, content: RunFile) -> None:
    """Remove the file that `write_run_file` made; one that somebody else wrote since stays."""
    if read_run_file(home) == content:
        run_file_path(home).unlink(missing_ok=True)
