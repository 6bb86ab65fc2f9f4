"""scripts/gen.py: what is committed is what the code says."""

import json
from pathlib import Path

import pytest

from llama_runner.core.fields import all_settings
from llama_runner.core.metrics import METRICS
from llama_runner.core.settings import AppConfig
from scripts import gen


def test_the_generated_files_in_the_tree_are_current() -> None:
    assert [target.path for target in gen.outdated(gen.ROOT)] == []


def test_writing_makes_the_check_pass_and_a_second_time_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gen.main(["--check"], root=tmp_path) == 1
    assert capsys.readouterr().err.count("out of date") == 6
    assert gen.main([], root=tmp_path) == 0
    assert capsys.readouterr().out.count("wrote") == 6
    assert gen.main([], root=tmp_path) == 0
    assert gen.main(["--check"], root=tmp_path) == 0
    assert capsys.readouterr() == ("", "")


def test_a_users_own_values_are_no_mistake_but_a_missing_or_unknown_key_is(tmp_path: Path) -> None:
    gen.main([], root=tmp_path)
    path = tmp_path / "config" / "app_config.json"
    document = json.loads(path.read_bytes())
    document["ui"]["theme"] = "dark"
    path.write_text(json.dumps(document))
    assert gen.main(["--check"], root=tmp_path) == 0
    del document["ui"]["theme"]
    path.write_text(json.dumps(document))
    assert gen.main(["--check"], root=tmp_path) == 1
    path.write_text("{")
    assert gen.main(["--check"], root=tmp_path) == 1


def test_line_ends_of_windows_are_no_difference(tmp_path: Path) -> None:
    gen.main([], root=tmp_path)
    path = tmp_path / "docs" / "metrics.md"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert gen.main(["--check"], root=tmp_path) == 0


def test_every_setting_and_every_metric_is_documented() -> None:
    settings, metrics = gen.settings_doc().decode(), gen.metrics_doc().decode()
    assert all(f"`{info.key}`" in settings for info in all_settings(AppConfig))
    assert all(f"| `{name}` |" in metrics for name in METRICS)


def test_the_schema_knows_units_and_bounds() -> None:
    schema = json.loads(gen.schema_of("x", AppConfig).content)
    timeout = schema["$defs"]["ChatSettings"]["properties"]["idle_timeout_s"]
    assert (timeout["unit"], timeout["minimum"], timeout["maximum"]) == ("s", 1, 7200)
    assert "clamp" not in json.dumps(schema)
