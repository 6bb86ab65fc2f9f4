import pytest

from llama_runner.core.editing import get_setting, set_setting
from llama_runner.core.errors import ConfigError, TlsError, UsageError
from llama_runner.core.fields import all_settings, setting_info
from llama_runner.core.jsonio import JsonValue
from llama_runner.core.load_options import FLAGS, Group, LoadOptions, kinds_of, parse_options
from llama_runner.core.settings import AppConfig, ModelsConfig
from llama_runner.core.validation import validate


def test_every_option_has_a_way_to_the_engine_and_a_group() -> None:
    assert list(FLAGS) == list(LoadOptions.model_fields)
    assert len({flag.name for flag in FLAGS.values()}) == len(FLAGS)
    assert {flag.group for flag in FLAGS.values()} == set(Group)
    assert [name for name, flag in FLAGS.items() if not flag.name.startswith("--")] == ["engine"]


def test_what_an_option_takes() -> None:
    assert kinds_of("threads") == (int,)
    assert kinds_of("warmup") == (bool,)
    assert kinds_of("rope_scale") == (float,)
    assert kinds_of("tensor_split") == (tuple,)
    assert kinds_of("flash_attention") == ("on", "off", "auto")
    assert kinds_of("device") == (str,)
    assert kinds_of("loras") == (tuple,)


def test_options_by_name() -> None:
    found = parse_options(
        {"threads": "4", "tensor_split": ("3", "1"), "warmup": False, "device": "CUDA0,CPU"}
    )
    assert found == LoadOptions(threads=4, tensor_split=(3.0, 1.0), warmup=False, device="CUDA0,CPU")
    assert parse_options({}) == LoadOptions()
    files = {"loras": ["a.gguf", "sub/b.gguf:0.5"], "rpc_workers": ["192.168.1.2:50052", "[::1]:1"]}
    assert parse_options(files).model_dump(mode="json", exclude_none=True) == files


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tools": "all"}, "no load option 'tools'"),
        ({"threads": "many"}, "threads cannot be many"),
        ({"threads": 0}, "threads cannot be 0"),
        ({"chat_template": "/etc/passwd"}, "chat_template cannot be /etc/passwd"),
        ({"device": "a" * 300}, "device cannot be aaa"),
        ({"engine": "../evil"}, "engine cannot be"),
        ({"projector": "//host/share/p.gguf"}, "projector cannot be"),
        ({"projector": "-x"}, "projector cannot be"),
        ({"draft_model": "../../x.gguf"}, "draft_model cannot be"),
        ({"loras": ("a.gguf,--tools",)}, "loras cannot be"),
        ({"loras": ("a.gguf",) * 17}, "loras cannot be"),
        ({"rpc_workers": ("evil",)}, "rpc_workers cannot be"),
        ({"rpc_workers": ("host:0",)}, "rpc_workers cannot be"),
        ({"rpc_workers": ("host:99999",)}, "rpc_workers cannot be"),
        ({"rpc_workers": ("user@host:1",)}, "rpc_workers cannot be"),
    ],
)
def test_what_is_no_option_is_named(values: dict[str, object], said: str) -> None:
    """C8, R7."""
    with pytest.raises(UsageError, match=said):
        parse_options(values)


def test_an_option_says_what_it_takes() -> None:
    def words(name: str) -> str:
        return setting_info(name, LoadOptions.model_fields[name]).expectation

    assert words("tensor_split") == "a list of at most 16 numbers or null"
    assert words("threads") == "a whole number from 1 to 1024 threads or null"
    assert words("flash_attention") == 'one of "on", "off", "auto" or null'
    assert words("device").startswith("a name of letters")
    assert words("loras").startswith("a list of at most 16, each the name of a model file")


def test_lists_in_a_file_are_read() -> None:
    """JSON knows no tuples; strictness is for what is in them."""
    parameters: dict[str, JsonValue] = {
        "tensor_split": [3, 1],
        "loras": ["a.gguf"],
        "rpc_workers": ["10.0.0.2:50052"],
    }
    config, problems = validate(
        ModelsConfig,
        {"models": {"m": {"path": "m.gguf", "parameters": parameters, "profiles": {"p": {"threads": 2}}}}},
        file_name="models_config.json",
    )
    assert problems == ()
    assert config.models["m"].parameters == parse_options(parameters)
    assert config.models["m"].profiles == {"p": LoadOptions(threads=2)}
    assert ModelsConfig.model_validate(config.model_dump()) == config


def test_a_bad_option_in_a_profile_is_named_and_the_rest_stays() -> None:
    """C8: severities in one place."""
    profiles: dict[str, JsonValue] = {"p": {"threads": 0, "parallel": 2}, "q": 7}
    config, problems = validate(
        ModelsConfig, {"models": {"m": {"path": "m.gguf", "profiles": profiles}}}, file_name="f"
    )
    assert [problem.key for problem in problems] == ["models.m.profiles.p.threads", "models.m.profiles.q"]
    assert config.models["m"].profiles == {"p": LoadOptions(parallel=2), "q": LoadOptions()}


def test_engines_are_a_table_that_lists_of_single_settings_leave_out() -> None:
    assert not any(".ID." in info.key for info in all_settings(AppConfig))
    assert "runtime.engines.ID.linux" in {info.key for info in all_settings(AppConfig, entries=True)}
    config, problems = validate(
        AppConfig,
        {"runtime": {"engines": {"ik": {"linux": "/opt/ik/llama-server"}, "bad": {"linux": "relative"}}}},
        file_name="f",
    )
    assert config.runtime.engines["ik"].on("linux") == "/opt/ik/llama-server"
    assert [problem.key for problem in problems] == ["runtime.engines.bad.linux"]
    workers = set_setting(config, "runtime.rpc_workers", "10.0.0.2:50052, box:1")
    assert workers.runtime.rpc_workers == ("10.0.0.2:50052", "box:1")
    assert workers.runtime.engines == config.runtime.engines


def test_networks_are_typed_with_commas_or_spaces_and_checked() -> None:
    """D17: what is no network is said, and nothing changes."""
    changed = set_setting(AppConfig(), "discovery.never_scan", "192.168.1.0/24, 10.0.0.1")
    assert get_setting(changed, "discovery.never_scan") == ("192.168.1.0/24", "10.0.0.1")
    with pytest.raises(ConfigError, match="never_scan"):
        set_setting(AppConfig(), "discovery.never_scan", "192.168.1.5/33")


def test_an_error_of_encryption_says_whether_the_certificate_is_the_reason() -> None:
    assert TlsError("No.", "Look.", certificate=True).certificate
    assert not TlsError("No.").certificate
