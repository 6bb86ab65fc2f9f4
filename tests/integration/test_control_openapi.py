"""The published OpenAPI document: it is what the service does."""

import re
from pathlib import Path

import pytest

from llama_runner.control.client import ControlClient
from llama_runner.core.fields import all_settings
from llama_runner.core.settings import AppConfig
from tests.fuzz.control_api import document_of, fuzz
from tests.integration.service_process import started_service


@pytest.mark.timeout(240)
def test_nothing_that_the_document_allows_or_forbids_breaks_the_service(home: Path, tmp_path: Path) -> None:
    """The long run is `python -m tests.fuzz.control_api`. No engine here: loading would only take time."""
    with started_service(home, "--engine", str(Path(__file__))) as service:
        kept, report = fuzz(service, tmp_path, examples=2, seed=20, phases="fuzzing", limit_s=200)
        assert kept, report[-6000:]
        called = int(re.findall(r"(\d+) generated", report)[0])
        assert called > 30


def test_every_call_of_the_client_is_in_the_document(home: Path) -> None:
    with started_service(home) as service:
        document = document_of(service)
    assert document["openapi"].startswith("3.1")
    assert set(document["x-websockets"]) == {"/api/v1/events", "/api/v1/metrics"}
    operations = [call for path in document["paths"].values() for call in path.values()]
    assert all(call["summary"].endswith(".") for call in operations)
    changes = document["components"]["schemas"]["SettingsChange"]["properties"]["changes"]["properties"]
    assert changes["stress.requests"]["maximum"] == 1_000_000
    left_out = {info.key for info in all_settings(AppConfig)} - set(changes)
    # What starts, what is read, who gets in: said at this machine only.
    assert left_out == {
        "runtime.engine_path.linux",
        "runtime.engine_path.windows",
        "runtime.models_dir.linux",
        "runtime.models_dir.windows",
        "runtime.rpc_workers",
        "proxy.always_ask_token",
        "proxy.host",
        "proxy.host_names",
        "proxy.log_prompts",
        "proxy.origins",
    }
    ids = [call["operationId"] for call in operations]
    assert len(set(ids)) == len(ids)
    asked = [name for name in vars(ControlClient) if not name.startswith("_")]
    assert len(ids) >= len(asked) - 2  # two of them are one call
