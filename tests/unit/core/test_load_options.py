import pytest

from llama_runner.core.editing import get_setting, set_setting
from llama_runner.core.errors import ConfigError, TlsError, UsageError
from llama_runner.core.fields import setting_info
from llama_runner.core.load_options import FLAGS, Group, LoadOptions, kinds_of, parse_options
from llama_runner.core.settings import AppConfig


def test_every_option_has_a_way_to_the_engine_and_a_group() -> None:
    assert list(FLAGS) == list(LoadOptions.model_fields)
    assert len({flag.name for flag in FLAGS.values()}) == len(FLAGS)
    assert {flag.group for flag in FLAGS.values()} == set(Group)
    assert all(flag.name.startswith("--") for flag in FLAGS.values())


def test_what_an_option_takes() -> None:
    assert kinds_of("threads") == (int,)
    assert kinds_of("warmup") == (bool,)
    assert kinds_of("rope_scale") == (float,)
    assert kinds_of("tensor_split") == (tuple,)
    assert kinds_of("flash_attention") == ("on", "off", "auto")


def test_options_by_name() -> None:
    found = parse_options(
        {"threads": "4", "tensor_split": ("3", "1"), "warmup": False, "device": "CUDA0,CPU"}
    )
    assert found == LoadOptions(threads=4, tensor_split=(3.0, 1.0), warmup=False, device="CUDA0,CPU")
    assert parse_options({}) == LoadOptions()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tools": "all"}, "no load option 'tools'"),
        ({"threads": "many"}, "threads cannot be many"),
        ({"threads": 0}, "threads cannot be 0"),
        ({"chat_template": "/etc/passwd"}, "chat_template cannot be /etc/passwd"),
        ({"device": "a" * 300}, "device cannot be aaa"),
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


def test_networks_are_typed_with_commas_or_spaces_and_checked() -> None:
    """D17: what is no network is said, and nothing changes."""
    changed = set_setting(AppConfig(), "discovery.never_scan", "192.168.1.0/24, 10.0.0.1")
    assert get_setting(changed, "discovery.never_scan") == ("192.168.1.0/24", "10.0.0.1")
    with pytest.raises(ConfigError, match="never_scan"):
        set_setting(AppConfig(), "discovery.never_scan", "192.168.1.5/33")


def test_an_error_of_encryption_says_whether_the_certificate_is_the_reason() -> None:
    assert TlsError("No.", "Look.", certificate=True).certificate
    assert not TlsError("No.").certificate
