"""What a child is started with: its environment, and how to start this program again."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import llama_runner

# Allow-list (safety R7): llama-server takes every option from LLAMA_ARG_* too, shell tools included, so
# nothing is inherited that is not named here. The GPU names choose devices and drivers, and hold no secret.
_GPU: Final = frozenset(
    {
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "HSA_OVERRIDE_GFX_VERSION",
        "GGML_VK_VISIBLE_DEVICES",
        "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
        "ONEAPI_DEVICE_SELECTOR",
        "ZE_AFFINITY_MASK",
        "VK_DRIVER_FILES",
        "VK_ICD_FILENAMES",
    }
)
_POSIX: Final = _GPU | {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
}
_WINDOWS: Final = _GPU | {
    "PATH",
    "PATHEXT",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "TEMP",
    "TMP",
    "USERPROFILE",
    "USERNAME",
    "LOCALAPPDATA",
    "APPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
    "OMP_NUM_THREADS",
    "CUDA_PATH",
}


def scrubbed_environment(env: Mapping[str, str], platform: str, *, frozen: bool = False) -> dict[str, str]:
    """The few variables an engine may inherit; keys, proxies, preloads and LLAMA_* stay here.

    Args:
        platform: As `sys.platform`. Names are compared without case on Windows.
        frozen: This program is a packaged one: its LD_LIBRARY_PATH points into itself, the user's own is
            in LD_LIBRARY_PATH_ORIG.
    """
    if platform == "win32":
        return {name: value for name, value in env.items() if name.upper() in _WINDOWS}
    kept = {name: value for name, value in env.items() if name in _POSIX}
    if frozen:
        kept.pop("LD_LIBRARY_PATH", None)
        if original := env.get("LD_LIBRARY_PATH_ORIG"):
            kept["LD_LIBRARY_PATH"] = original
    # Messages we match and show are English and UTF-8, whatever the desktop speaks.
    return kept | {"LC_ALL": "C.UTF-8"}


def self_command() -> list[str]:
    """The argv prefix that starts this program again: the packaged file, or Python with our entry point."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    entry = Path(llama_runner.__file__).resolve().parent.parent / "main.py"
    return [sys.executable, str(entry)] if entry.is_file() else [sys.executable, "-m", "llama_runner"]
