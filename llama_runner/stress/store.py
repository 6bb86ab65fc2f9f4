"""A run on disk: `run.json` and `requests.jsonl` in a folder of its own under the home's data."""

import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

from llama_runner.core.errors import StorageError
from llama_runner.core.files import write_new
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.paths import PRIVATE_FOLDER_MODE, Home, make_private_folder
from llama_runner.stress.records import RequestRecord
from llama_runner.stress.report import record_json


def new_run_dir(home: Home, started_utc: datetime) -> Path:
    """Make the folder of a run: its start and four random digits. Raises StorageError."""
    folder = home.data_dir / "runs" / f"{started_utc:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    try:
        make_private_folder(folder.parent)
        folder.mkdir(mode=PRIVATE_FOLDER_MODE)
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be created: {error.strerror or error}.",
            "Check the free space and the permissions, or choose another place with --home.",
        ) from error
    return folder


def save_run(folder: Path, document: dict[str, object], records: Sequence[RequestRecord]) -> None:
    """Write both files. Blocks; raises StorageError."""
    zero_ns = min((record.t_begin_ns for record in records), default=0)
    ordered = sorted(records, key=lambda record: record.index)
    lines = [json.dumps(record_json(record, zero_ns), ensure_ascii=False) + "\n" for record in ordered]
    # Requests first: a folder with a run.json is complete.
    write_new(folder / "requests.jsonl", "".join(lines).encode("utf-8", "backslashreplace"))
    write_new(folder / "run.json", dump_json(cast(JsonValue, document), indent=2))
