"""What is here, what is wrong and how to mend it: all of `checks` on this machine and one home.

Starts nothing but the engine, to ask its version; changes nothing.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_runner import __version__
from llama_runner.core.config import load_app_config, load_models_config
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.paths import Home, current_home
from llama_runner.runtime.catalogue import DEMO_MODEL_PACKAGE, find_models, models_folder
from llama_runner.runtime.engine import demo_engine, packaged_file
from llama_runner.system.privileges import runs_as_root
from llama_runner.workspace import checks
from llama_runner.workspace.checks import Check, Status


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """Everything that was looked at.

    Attributes:
        status: The worst of the checks.
        packages: Installed versions, None where a package is missing.
        home: Where this program keeps its files, None when there is no usable place.
    """

    status: Status
    version: str
    python: str
    platform: str
    packages: Mapping[str, str | None]
    home: Home | None
    checks: tuple[Check, ...]


async def examine(
    home_override: Path | None, *, demo: bool, env: Mapping[str, str], platform: str = sys.platform
) -> DoctorReport:
    """Look at everything once. Never raises for what it finds."""
    found = [
        checks.check_python(sys.version_info[:3], checks.pyside_version()),
        *checks.check_packages(checks.package_versions()),
    ]
    found += [
        checks.check_user(runs_as_root()),
        checks.check_environment(env),
        checks.check_display(env, platform),
    ]
    home: Home | None = None
    try:
        home = current_home(home_override)
    except LlamaRunnerError as error:
        found.append(Check("folders", Status.ERROR, error.message, error.hint))
    else:
        found += await _check_home(home, demo=demo, env=env, platform=platform)
    found += [
        checks.check_demo(demo_engine(), packaged_file(DEMO_MODEL_PACKAGE, ".gguf")),
        checks.check_gpu(),
    ]
    return DoctorReport(
        status=checks.worst(found),
        version=__version__,
        python=".".join(map(str, sys.version_info[:3])),
        platform=platform,
        packages=checks.package_versions(),
        home=home,
        checks=tuple(found),
    )


async def _check_home(home: Home, *, demo: bool, env: Mapping[str, str], platform: str) -> list[Check]:
    loaded, models = load_app_config(home), load_models_config(home)
    config = loaded.value
    return [
        *(checks.check_folder(name, folder) for name, folder in _folders(home)),
        *checks.check_settings((*loaded.problems, *models.problems)),
        await checks.check_control_port(home, config),
        await checks.check_engine(config, demo=demo, env=env, platform=platform),
        checks.check_models(
            models_folder(config.runtime, home, platform),
            configured=config.runtime.models_dir.on(platform),
            models=find_models(config, models.value, home, include_demo=demo, env=env).models,
        ),
    ]


def _folders(home: Home) -> tuple[tuple[str, Path], ...]:
    return (
        ("config folder", home.config_dir),
        ("logs folder", home.logs_dir),
        ("data folder", home.data_dir),
    )
