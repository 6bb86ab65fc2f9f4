import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llama_runner.core import fields, validation
from llama_runner.core.config import get_setting, replace_setting, set_setting
from llama_runner.core.errors import ConfigError
from llama_runner.core.fields import Kind, Section, all_settings
from llama_runner.core.settings import AppConfig, EnginePath, ModelsConfig, ModelsDir
from llama_runner.core.validation import Problem, Severity, validate


def app(raw: Any) -> tuple[AppConfig, tuple[Problem, ...]]:
    return validate(AppConfig, raw, file_name="app_config.json")


def models(raw: Any) -> tuple[ModelsConfig, tuple[Problem, ...]]:
    return validate(ModelsConfig, raw, file_name="models_config.json")


def test_every_setting_is_described_in_full() -> None:
    for info in (
        *all_settings(AppConfig, entries=True),
        *all_settings(ModelsConfig, entries=True),
    ):
        assert info.title, info.key
        assert info.help.endswith("."), info.key
        assert info.expectation, info.key
        if info.kind in {Kind.INTEGER, Kind.NUMBER}:
            assert info.minimum is not None and info.maximum is not None, info.key


def test_every_number_with_a_unit_in_its_name_says_so() -> None:
    for info in all_settings(AppConfig):
        if info.key.endswith(("_s", "_bytes")):
            assert info.unit == info.key.rpartition("_")[2], info.key


def test_the_shipped_windows_paths_are_the_users() -> None:
    config = AppConfig()
    assert config.runtime.engine_path.on("win32") == r"F:\llm\llama\llama-server.exe"
    assert config.runtime.models_dir.on("win32") == r"F:\llm\llama\models"
    assert EnginePath(linux="/opt/x").on("linux") == "/opt/x"
    assert ModelsDir().on("linux") == ""


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        AppConfig().chat.idle_timeout_s = 5  # type: ignore[misc]


@pytest.mark.parametrize("bad", [-1, 65536, "1234", 1.5, True, None, [], {}, 2**63 - 1])
def test_c5_a_bad_port_is_named_and_everything_else_still_loads(bad: Any) -> None:
    config, problems = app({"service": {"control_port": bad}, "stress": {"concurrency": 9}})
    assert config.service.control_port == 8035
    assert config.stress.concurrency == 9
    assert [problem.message for problem in problems] == [
        "service.control_port must be a whole number from 0 to 65535; using 8035."
    ]
    assert problems[0].key == "service.control_port"
    assert problems[0].severity is Severity.ERROR
    assert problems[0].hint == "Correct it in app_config.json."


@pytest.mark.parametrize("good", [0, 22, 65535])
def test_c5_any_port_from_0_on_is_taken(good: int) -> None:
    config, problems = app({"service": {"control_port": good}})
    assert config.service.control_port == good and not problems


@pytest.mark.parametrize("bad", [[0], [65536], [True], ["80"], "80", 80, {}, [80] * 65])
def test_c5_a_bad_list_of_ports_is_replaced_whole(bad: Any) -> None:
    config, (problem,) = app({"discovery": {"ports": bad}})
    assert config.discovery == AppConfig().discovery
    assert problem.message.startswith("discovery.ports must be a list of at most 64 port numbers")
    assert problem.message.endswith("; using the default.")


@pytest.mark.parametrize("bad", ["0.0.0.0", "::", "8.8.8.8", "myhost", "", "::1%lo", "127.1", 5])
def test_c6_only_an_address_of_this_machine_is_listened_on(bad: Any) -> None:
    config, (problem,) = app({"service": {"control_host": bad}})
    assert config.service.control_host == "127.0.0.1"
    assert "an address of this machine only" in problem.message


@pytest.mark.parametrize("good", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_c6_loopback_in_any_form_is_taken(good: str) -> None:
    config, problems = app({"service": {"control_host": good}})
    assert config.service.control_host == good and not problems


@pytest.mark.parametrize(
    "bad", ["myhost", "", "::1%lo", "127.1", "::ffff:8.8.8.8", "224.0.0.1", "0.0.0.0:80", "[::]", 5]
)
def test_c6_the_proxy_listens_on_addresses_and_asks_no_name_server(bad: Any) -> None:
    config, (problem,) = app({"proxy": {"host": bad}})
    assert config.proxy.host == "127.0.0.1"
    assert "proxy.host must be an IP address of this machine" in problem.message


@pytest.mark.parametrize("good", ["127.0.0.1", "0.0.0.0", "::", "::1", "192.168.1.5", "localhost"])
def test_c6_whether_other_machines_may_come_in_is_decided_by_the_listener(good: str) -> None:
    config, problems = app({"proxy": {"host": good}})
    assert config.proxy.host == good and not problems


@pytest.mark.parametrize(
    "bad",
    ["*", "null", "http://*", "file://x", "http://x/", "HTTP://x", "http://x:y", "//x", "x", "http://u@x", 5],
)
def test_i15_an_origin_is_one_origin_and_no_pattern(bad: Any) -> None:
    config, (problem,) = app({"proxy": {"origins": ["http://ok:3000", bad]}})
    assert config.proxy.origins == ()
    assert "exactly what a browser says" in problem.message


def test_origins_of_pages_apps_and_extensions_are_taken() -> None:
    good = ("http://localhost:3000", "app://obsidian.md", "chrome-extension://abcdef", "https://[::1]:8443")
    assert app({"proxy": {"origins": list(good)}})[0].proxy.origins == good


@pytest.mark.parametrize("bad", ["*", "*.local", "Box", "a b", "-x", "x:", "x:y", "[::1]", "http://x", ""])
def test_a_host_name_is_one_name(bad: str) -> None:
    assert app({"proxy": {"host_names": ["ok.local", bad]}})[0].proxy.host_names == ()


def test_host_names_may_say_another_port() -> None:
    good = ("host.docker.internal", "box:8080", "10.0.0.7", "my_box")
    assert app({"proxy": {"host_names": list(good)}})[0].proxy.host_names == good


@pytest.mark.parametrize(
    "bad", ["~/x", "$HOME/x", "models", "C:\\x", "/x\ny", "/x\x00", "/" + "x" * 5000, "\\\\srv\\x"]
)
def test_c7_odd_linux_paths_are_refused_with_a_reason(bad: str) -> None:
    config, (problem,) = app({"runtime": {"models_dir": {"linux": bad}}})
    assert config.runtime.models_dir.linux == ""
    assert problem.key == "runtime.models_dir.linux"
    assert "path" in problem.message


@pytest.mark.parametrize(
    "bad",
    ["\\\\srv\\share", "//srv/share/x", "\\\\?\\C:\\x", "\\\\.\\pipe\\x", "x", "C:x", "\\x", "C:\\a\tb"],
)
def test_c7_odd_windows_paths_are_refused_with_a_reason(bad: str) -> None:
    config, (problem,) = app({"runtime": {"engine_path": {"windows": bad}}})
    assert config.runtime.engine_path.windows == r"F:\llm\llama\llama-server.exe"
    assert "path" in problem.message


@pytest.mark.parametrize(
    "bad",
    ["", " ", "~/x", "$HOME/x", "-x", "../x", "a\\..\\b", "//srv/x/y", "\\\\srv\\x\\y", "a\nb", 5, None],
)
def test_c7_a_model_with_an_odd_path_is_left_out_and_the_others_stay(bad: Any) -> None:
    config, problems = models({"models": {"a": {"path": bad}, "b": {"path": "b/b.gguf"}}})
    assert set(config.models) == {"b"}
    assert [problem.key for problem in problems] == ["models.a.path", "models.a"]


@pytest.mark.parametrize("good", ["/m/x.gguf", "D:\\m\\x.gguf", "sub/x.gguf", "sub\\x y.gguf"])
def test_model_paths_of_both_systems_are_taken(good: str) -> None:
    config, problems = models({"models": {"a": {"path": good, "parameters": {"gpu_layers": 0}}}})
    assert config.models["a"].path == good and not problems
    assert config.models["a"].parameters.gpu_layers == 0


def test_a_model_without_a_path_is_left_out_and_says_so() -> None:
    config, problems = models({"models": {"a\u202e": {"display_name": "A"}}})
    assert config.models == {}
    assert problems[0].message == "models.a⟨U+202E⟩.path is missing."


def test_a_bad_parameter_does_not_cost_the_model() -> None:
    config, (problem,) = models({"models": {"a": {"path": "x", "parameters": {"threads": "many"}}}})
    assert config.models["a"].parameters.threads is None
    assert problem.message == (
        "models.a.parameters.threads must be a whole number from 1 to 1024 threads or null; using nothing."
    )


@pytest.mark.parametrize(
    ("value", "used"),
    [(0, 1), (-5, 1), (1e308, 7200), (math.inf, 7200), (-math.inf, 1), (7201, 7200), (2**63 - 1, 7200)],
)
def test_c9_durations_out_of_range_become_the_nearest_allowed_with_a_notice(
    value: float, used: float
) -> None:
    config, (problem,) = app({"chat": {"idle_timeout_s": value, "first_token_timeout_s": 7}})
    assert config.chat.idle_timeout_s == used
    assert config.chat.first_token_timeout_s == 7
    assert problem.severity is Severity.WARNING
    assert problem.message == f"chat.idle_timeout_s must be a number from 1 to 7200 s; using {used}."


def test_c9_what_is_not_a_number_becomes_the_default() -> None:
    config, (problem,) = app({"chat": {"idle_timeout_s": math.nan}})
    assert config.chat.idle_timeout_s == 120
    assert problem.message == "chat.idle_timeout_s must be a number from 1 to 7200 s; using 120."


@pytest.mark.parametrize(("value", "used"), [(0, 1), (5000, 4096), (0.5, 4), (math.inf, 4096), ("5", 4)])
def test_c9_counts_are_clamped_only_when_they_are_whole(value: Any, used: int) -> None:
    assert app({"stress": {"concurrency": value}})[0].stress.concurrency == used


def test_a_value_of_the_wrong_type_within_bounds_becomes_the_default() -> None:
    assert app({"stress": {"concurrency": 8.0}})[0].stress.concurrency == 4


@pytest.mark.parametrize("bad", [[], "x", 5, None, [[]]])
def test_c3_the_wrong_shape_is_named(bad: Any) -> None:
    config, (problem,) = app(bad)
    assert config == AppConfig()
    assert problem.message == "app_config.json must be an object in braces; using its defaults."
    config, (problem,) = app({"chat": bad, "arena": {"max_entries": 3}})
    assert config.arena.max_entries == 3
    assert problem.message == "chat must be an object in braces; using its defaults."
    _, (problem,) = models({"models": bad})
    assert problem.message == "models must be an object in braces; using none."
    _, problems = models({"models": {"a": bad}})
    assert problems[0].message == "models.a must be an object in braces; using its defaults."


def test_c4_unknown_keys_are_named_and_do_nothing() -> None:
    config, problems = app({"$schema": "x", "version": 1, "chta": {}, "chat": {"idle\u202e": 1}})
    assert config == AppConfig()
    assert {problem.key for problem in problems} == {"chta", "chat.idle⟨U+202E⟩"}
    assert {problem.severity for problem in problems} == {Severity.NOTICE}


def test_choices_and_languages_are_checked() -> None:
    config, problems = app({"ui": {"theme": "pink", "language": "English"}, "logging": {"level": "info"}})
    assert config == AppConfig()
    assert problems[0].message == 'ui.theme must be one of "system", "light", "dark"; using "system".'
    assert app({"ui": {"language": "de_DE"}})[0].ui.language == "de_DE"


def test_a_text_that_is_too_long_is_replaced() -> None:
    config, (problem,) = app({"chat": {"system_prompt": "x" * 100_001}})
    assert config.chat.system_prompt == ""
    assert problem.message == 'chat.system_prompt must be a text of at most 100000 characters; using "".'


def test_optional_settings_take_null() -> None:
    config, problems = app({"chat": {"temperature": None, "max_tokens": 5}})
    assert config.chat.temperature is None and config.chat.max_tokens == 5 and not problems
    config, (problem,) = app({"chat": {"temperature": 9}})
    assert config.chat.temperature == 5
    assert problem.message == "chat.temperature must be a number from 0 to 5 or null; using 5."


def test_a_file_of_nothing_but_mistakes_gives_a_bounded_list() -> None:
    raw: dict[str, Any] = {"models": {str(number): {} for number in range(3000)}}
    config, problems = models(raw)
    assert config.models == {} and len(problems) == validation.MAX_PROBLEMS


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(AppConfig.model_fields)),
        _json
        | st.dictionaries(
            st.sampled_from([info.key.split(".")[1] for info in all_settings(AppConfig)]), _json, max_size=5
        ),
    )
)
def test_any_values_give_settings_that_are_valid(raw: dict[str, Any]) -> None:
    config, _ = app(raw)
    assert AppConfig.model_validate(config.model_dump()) == config
    assert json.dumps(config.model_dump(mode="json"), allow_nan=False)


def test_get_setting_reads_settings_and_sections() -> None:
    config = AppConfig()
    assert get_setting(config, "service.control_port") == 8035
    assert get_setting(config, "runtime.engine_path.windows").endswith("llama-server.exe")
    assert isinstance(get_setting(config, "chat"), Section)


@pytest.mark.parametrize(
    "key", ["", "chat.", "chat.x", "x", "service.control_port.x", "chat..x", "model_fields"]
)
def test_an_unknown_key_is_an_error(key: str) -> None:
    with pytest.raises(ConfigError, match="There is no setting"):
        get_setting(AppConfig(), key)
    with pytest.raises(ConfigError):
        set_setting(AppConfig(), key, "1")
    with pytest.raises(ConfigError):
        replace_setting(AppConfig(), key, 1)


def test_a_mistyped_key_is_answered_with_what_it_may_have_meant() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean stress\.concurrency"):
        set_setting(AppConfig(), "stress.concurency", "8")
    with pytest.raises(ConfigError, match="config show"):
        set_setting(AppConfig(), "qqqq", "8")
    with pytest.raises(ConfigError):
        set_setting(AppConfig(), "chat", "{}")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("stress.concurrency", " 8 ", 8),
        ("chat.idle_timeout_s", "2.5", 2.5),
        ("chat.idle_timeout_s", "1e2", 100.0),
        ("chat.temperature", "", None),
        ("chat.temperature", "null", None),
        ("chat.temperature", "0", 0),
        ("service.keep_serving_after_window", "Yes", True),
        ("service.keep_serving_after_window", "0", False),
        ("discovery.ports", "[80, 81]", (80, 81)),
        ("discovery.ports", "80 81", (80, 81)),
        ("discovery.ports", "", ()),
        ("ui.theme", "dark", "dark"),
        ("chat.system_prompt", " keep  spaces ", " keep  spaces "),
        ("runtime.engine_path.linux", "/opt/llama-server", "/opt/llama-server"),
    ],
)
def test_set_setting_reads_what_was_typed(key: str, text: str, value: Any) -> None:
    before = AppConfig()
    after = set_setting(before, key, text)
    assert get_setting(after, key) == value
    assert set_setting(after, key, text) == after
    assert before == AppConfig()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("stress.concurrency", "abc"),
        ("stress.concurrency", "0"),
        ("stress.concurrency", "1.5"),
        ("stress.concurrency", "9" * 100),
        ("stress.concurrency", ""),
        ("chat.idle_timeout_s", "1,5"),
        ("chat.idle_timeout_s", "nan"),
        ("chat.idle_timeout_s", "1e999"),
        ("service.keep_serving_after_window", "maybe"),
        ("discovery.ports", "80,x"),
        ("ui.theme", "pink"),
        ("service.control_host", "0.0.0.0"),
    ],
)
def test_u17_what_cannot_be_used_is_refused_with_what_would_do(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} must be .*, not .*Nothing was changed"):
        set_setting(AppConfig(), key, text)


def test_replace_setting_takes_values_as_dialogs_have_them() -> None:
    config = replace_setting(AppConfig(), "chat.temperature", 0.5)
    assert config.chat.temperature == 0.5
    with pytest.raises(ConfigError):
        replace_setting(AppConfig(), "stress.concurrency", True)


def test_bounds_are_shown_as_they_are_typed() -> None:
    assert fields.plain_number(65535) == "65535"
    assert fields.plain_number(0.05) == "0.05"
    assert fields.plain_number(None) == "None"
