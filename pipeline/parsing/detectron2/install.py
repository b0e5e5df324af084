"""Installs the library detectron2 into the Python that runs this: ``python -m pipeline.parsing.detectron2.install``.

No index carries a ``detectron2`` that pip installs as it is. By default the release 0.6 is installed from a
distribution that holds its unchanged Python files, without a compiler: Mask R-CNN, semantic FPN, PointRend and DeepLab
run, deformable convolutions and rotated boxes do not. ``--upstream`` compiles upstream's sources at a fixed commit
instead, which needs a network, git and a C++ compiler. The library's dependencies are the extra ``detectron2`` of this
package.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pipeline.errors import InputError, PipelineError, WorkError

RELEASE: Final = "pb1-detectron2==0.6"
RELEASE_NAME: Final = "pb1-detectron2"
RELEASE_SHA256: Final = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
"""Of the source archive; building it runs its code, so that no other one is taken, wherever it comes from."""
UPSTREAM: Final = "git+https://github.com/facebookresearch/detectron2.git@02b5c4e295e990042a714712c21dc79b731e8833"
UPSTREAM_NAME: Final = "detectron2"

REQUIREMENT: Final = (
    f"{RELEASE} --hash=sha256:{RELEASE_SHA256} "
    '--config-settings="--global-option=build_py" --config-settings="--build-option=--skip-build"\n'
)
"""A requirements file, where alone pip takes hashes; the settings tell the build to leave the compiled module out."""

IN_PLACE: Final = ("--no-build-isolation", "--no-deps")
"""The build imports the torch of this environment; the dependencies that the distribution names are out of date."""

FIRST_PIP: Final = (23, 2)
"""Oldest pip that is known to install the release."""

TOO_NEW_PIP: Final = (26, 3)
"""From here on pip refuses the release's metadata, which have a direct URL in an extra that nobody asks for."""

OTHER_PIP: Final = "pip>=24,<26.3"
"""What does it instead, in a folder that is thrown away."""

DEPENDENCIES: Final = (
    "torch",
    "fvcore",
    "iopath",
    "omegaconf",
    "hydra",
    "yacs",
    "pycocotools",
    "setuptools",
)

PROBE: Final = """
from pipeline.parsing.detectron2 import compat
compat.require_library()
import detectron2, detectron2.data.transforms, detectron2.checkpoint, detectron2.projects.point_rend
import detectron2.projects.deeplab
compiled = "with" if compat.has_compiled_operators() else "without"
print(f"detectron2 {detectron2.__version__}, {compiled} compiled operators")
"""


def pip_version(text: str) -> tuple[int, int]:
    """Major and minor version from what ``pip --version`` prints.

    Raises:
        InputError: There is no version in it.
    """
    found = re.match(r"pip (\d+)\.(\d+)", text)
    if found is None:
        raise InputError(f"no version in the answer of pip: {text.strip()[:80]!r}")
    return int(found[1]), int(found[2])


def needs_other_pip(version: tuple[int, int]) -> bool:
    """Whether this version of pip cannot install the release."""
    return not FIRST_PIP <= version < TOO_NEW_PIP


def has_distribution(name: str) -> bool:
    """Whether a distribution of this name is installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def run(arguments: Sequence[str], python_path: Path | None = None) -> str:
    """Run this Python with arguments and give back what it printed.

    Args:
        arguments: Of the interpreter.
        python_path: A folder whose modules come before all others.

    Raises:
        WorkError: The exit code was not 0.
    """
    environment = dict(os.environ)
    if python_path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(python_path), environment.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        errors = [line for line in lines if line.lower().startswith("error")]
        raise WorkError(f"python {' '.join(arguments[:4])} ... failed: {(errors or lines)[-1].strip()}")
    return done.stdout


def probe() -> str:
    """Import the library in a new process; what it is.

    Raises:
        WorkError: It cannot be imported.
    """
    return run(["-c", PROBE]).strip()


def check_environment() -> tuple[int, int]:
    """Check that pip and the library's dependencies are here; the version of pip.

    Raises:
        InputError: One is missing.
    """
    missing = [name for name in DEPENDENCIES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} must be installed first: pip install 'ccaf-pipeline[detectron2]', or in a clone "
            f"pip install -e '.[detectron2]'"
        )
    try:
        return pip_version(run(["-m", "pip", "--version"]))
    except WorkError as error:
        raise InputError(f"this Python has no pip ({error}); python -m ensurepip installs it") from error


def install_release(version: tuple[int, int]) -> None:
    """Install the release 0.6 without its compiled module.

    Args:
        version: Of this environment's pip.

    Raises:
        WorkError: pip failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(REQUIREMENT)
        command = ["-m", "pip", "install", "--quiet", *IN_PLACE, "--use-pep517", "--require-hashes"]
        command += ["--requirement", str(requirements)]
        if not needs_other_pip(version):
            print(f"installing {RELEASE}, Python files only")
            run(command)
            return
        unfit = ".".join(map(str, version))
        print(
            f"installing {RELEASE}, Python files only, with {OTHER_PIP} from a temporary folder, as pip {unfit} cannot"
        )
        other = Path(folder) / "pip"
        run(["-m", "pip", "install", "--quiet", "--target", str(other), OTHER_PIP])
        run(command, python_path=other)


def install_upstream() -> None:
    """Compile upstream's sources at the fixed commit and install them in place of the release.

    Raises:
        WorkError: pip or the compiler failed; what was installed before is still there.
    """
    print(f"compiling {UPSTREAM}")
    with tempfile.TemporaryDirectory() as folder:
        run(["-m", "pip", "wheel", "--quiet", *IN_PLACE, "--wheel-dir", folder, UPSTREAM])
        wheels = [str(path) for path in Path(folder).glob("*.whl")]
        if has_distribution(RELEASE_NAME):  # both own the same files
            run(["-m", "pip", "uninstall", "--quiet", "--yes", RELEASE_NAME])
        run(["-m", "pip", "install", "--quiet", "--no-deps", *wheels])


def install(upstream: bool) -> None:
    """Install the library unless it is there, and check the result by importing it.

    Raises:
        InputError: Something that it needs is missing.
        WorkError: The installation failed.
    """
    version = check_environment()
    if has_distribution(UPSTREAM_NAME) or (has_distribution(RELEASE_NAME) and not upstream):
        print(f"{probe()} is installed already")
        return
    if upstream:
        install_upstream()
    else:
        install_release(version)
    print(f"{probe()} is installed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and install; the exit code."""
    parser = argparse.ArgumentParser(description="Install the library detectron2 for the parser of the same name.")
    parser.add_argument(
        "--upstream",
        action="store_true",
        help="compile upstream's sources at a fixed commit (needs git and a compiler)",
    )
    try:
        install(parser.parse_args(arguments).upstream)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
