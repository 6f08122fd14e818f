"""Copies of real data that a test may change."""

import shutil
from pathlib import Path


def copy_writable(source: Path, target: Path) -> None:
    """Copy a folder of real data, which may be read-only, so that a test can change the copy."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in [target, *target.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
