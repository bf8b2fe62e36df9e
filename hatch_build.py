"""A wheel holds the viewer and the panel: built by ``make ui`` unless they are there. An editable install needs neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class UserInterface(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """raises: RuntimeError when they can neither be found nor be built"""
        root = Path(self.root)
        wanted = ["ohif", *(["panel"] if (root / "web/ui/package.json").is_file() else [])]
        if version == "editable" or all((root / "web/static" / name / ".built").is_file() for name in wanted):
            return
        try:
            subprocess.run(["make", "ui", f"PYTHON={sys.executable}"], cwd=root, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError('"make ui" failed; the wheel would have no viewer and no panel') from error
