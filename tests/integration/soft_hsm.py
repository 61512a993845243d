"""A token of SoftHSM, an HSM in software, and key pairs in it that cannot be extracted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PIN = "471108"
_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
)


class SoftHsm:
    """One token. `SOFTHSM2_CONF` names it to this process and to those it starts."""

    def __init__(self, folder: Path, module: Path) -> None:
        self.folder = folder
        self.module = module
        (folder / "tokens").mkdir()
        (folder / "pin").write_text(PIN)
        configuration = folder / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(configuration)
        arguments = ["--init-token", "--free", "--label", "broker", "--so-pin", "1234", "--pin", PIN]
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=60)

    def describe(self, path: Path, label: str) -> None:
        """Writes the description of the key with the label."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'provider = "pkcs11"\nmodule = "{self.module}"\ntoken = "broker"\n'
            f'label = "{label}"\npin_file = "{self.folder / "pin"}"\n'
        )


def soft_hsm(folder: Path) -> SoftHsm:
    """Skips the test where SoftHSM is not installed."""
    module = next((path for path in _MODULES if path.is_file()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (Debian: apt-get install softhsm2)")
    return SoftHsm(folder, module)
