"""The settings over the control API: what applies, what is wrong in the files, changes of single ones."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llama_runner.control.settings import (
    ChangedSetting,
    SettingProblem,
    SettingsChange,
    SettingsChanged,
    SettingsState,
)
from llama_runner.core.config import (
    Problem,
    get_setting,
    load_app_config,
    load_models_config,
)
from llama_runner.core.editing import describe_setting
from llama_runner.core.errors import RefusedError
from llama_runner.core.fields import Section, SettingInfo, all_settings
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.service.endpoints import Call, Endpoint
from llama_runner.system.config_changes import change_app_config

# Machines that lend memory, pages and machines that may use the models, what is kept of what they say.
_WHO_GETS_IN: Final = frozenset(
    {
        "runtime.rpc_workers",
        "proxy.host",
        "proxy.always_ask_token",
        "proxy.origins",
        "proxy.host_names",
        "proxy.log_prompts",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsApi:
    """Calls about the settings.

    Attributes:
        config: What applies now, the command line's share included.
        follow: Brings the service in step with the files; told whether what failed is to be tried again.
    """

    home: Home
    config: Callable[[], AppConfig]
    follow: Callable[[bool], Awaitable[None]]

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What may be asked."""
        return (
            Endpoint(
                method="GET",
                path="/settings",
                summary="The settings, and what is wrong in their files.",
                handle=self._get,
                answer=SettingsState,
            ),
            Endpoint(
                method="PATCH",
                path="/settings",
                summary="Give single settings new values, by dotted name: all of them or none.",
                handle=self._change,
                body=SettingsChange,
                answer=SettingsChanged,
            ),
        )

    def now(self) -> SettingsState:
        """The settings as they are told."""
        app, models = load_app_config(self.home), load_models_config(self.home)
        problems = (
            *(_problem(self.home.app_config_file, one) for one in app.problems),
            *(_problem(self.home.models_config_file, one) for one in models.problems),
        )
        return SettingsState(self.config().model_dump(mode="json"), problems, app.writable)

    async def _get(self, call: Call) -> SettingsState:
        return self.now()

    async def _change(self, call: Call) -> SettingsChanged:
        wish: SettingsChange = call.body
        for key in wish.changes:
            if _is_for_hands(describe_setting(key)):
                raise RefusedError(
                    f"{key} names a program, a file, a folder or a machine, and is not changed from here.",
                    f"Use Settings in the window, or `llama-runner config set {key} VALUE`.",
                )
        before, after = await asyncio.to_thread(change_app_config, self.home, wish.changes)
        await self.follow(True)
        changed = (_changed(key, before, after) for key in wish.changes)
        return SettingsChanged(tuple(changed), self.now())


def setting_schemas() -> dict[str, Any]:
    """What each setting that may be changed from here takes, as a JSON schema, by dotted name."""
    document = AppConfig.model_json_schema()
    keys = {info.key for info in all_settings(AppConfig) if not _is_for_hands(info)}

    def within(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, part in schema["properties"].items():
            if section := document["$defs"].get(part.get("$ref", "").rpartition("/")[2]):
                yield from within(section, f"{prefix}{name}.")
            elif prefix + name in keys:
                yield prefix + name, part

    return dict(within(document, ""))


def _is_for_hands(info: SettingInfo) -> bool:
    """Whether it says which programs start, which files are read or written, or who gets in (I9, I14).

    The person at this machine says so, not whoever has got hold of a browser's session.
    """
    return info.is_path or info.key in _WHO_GETS_IN


def _problem(path: Path, problem: Problem) -> SettingProblem:
    return SettingProblem(path.name, problem.severity.value, problem.key, problem.message, problem.hint)


def _changed(key: str, before: AppConfig, after: AppConfig) -> ChangedSetting:
    applies = describe_setting(key).applies
    return ChangedSetting(key, _plain(get_setting(before, key)), _plain(get_setting(after, key)), applies)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Section) else value
