"""Real DVC on a copy of the repository's own files, beside a quick command in the place of ``ccaf-pipeline``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class DvcCopy:
    """A copy of the repository; called with words, it runs `dvc` there.

    Attributes:
        folder: The copy.
    """

    def __init__(self, folder: Path, script: str) -> None:
        """Copy what DVC's files name, and make a workspace of DVC of it.

        Args:
            folder: An empty folder.
            script: What `ccaf-pipeline` does there, a shell script.
        """
        self.folder = folder
        for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
            shutil.copy(REPOSITORY / name, folder / name)
        for name in ("data_manifests", "docs", "pipeline", "stages"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        command = folder / "commands" / "ccaf-pipeline"
        command.parent.mkdir()
        command.write_text(script)
        command.chmod(0o755)
        self._path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        self("init", "--no-scm", "--quiet")

    def __call__(self, *words: str) -> str:
        """What `dvc` prints; it must end well."""
        done = subprocess.run(
            ["dvc", *words],
            cwd=self.folder,
            env={**os.environ, "PATH": self._path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
