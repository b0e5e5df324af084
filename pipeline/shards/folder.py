"""The output folder of a parse: bound to a fingerprint, locked while it is written, replaced only by a complete one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import read_json, sync_folder, write_json
from pipeline.shards.schema import PLAN_NAME, RECORD_NAME, SHARD_PATTERN

_SHOWN_DIFFERENCES = 4


@dataclass(frozen=True)
class ShardFolder:
    """Where a run writes.

    Attributes:
        final: Where the finished shards shall be.
        work: Where they are written now: ``final`` itself, or a hidden folder beside it that takes its place later.
    """

    final: Path
    work: Path

    def committed(self, names: list[str]) -> list[str]:
        """Those of ``names`` that are there."""
        return [name for name in names if (self.work / name).is_file()]

    def invalidate(self) -> None:
        """Mark the folder as unfinished, before anything in it changes."""
        (self.work / RECORD_NAME).unlink(missing_ok=True)
        sync_folder(self.work)

    def prune(self, names: Container[str]) -> None:
        """Remove what crashes left half-written, and shards that are not among ``names``."""
        for left in [*self.work.glob(".*.tmp"), *self.work.glob(SHARD_PATTERN)]:
            if left.name not in names:
                left.unlink(missing_ok=True)

    def finish(self) -> None:
        """Put a replacement in its place, after its record was written, and remove what earlier runs left beside."""
        if self.work != self.final:
            if self.final.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{self.final.name}.", suffix=".old", dir=self.final.parent))
                self.final.replace(old / self.final.name)
            self.work.replace(self.final)
            sync_folder(self.final.parent)
        for pattern in (f".{self.final.name}.*.partial", f".{self.final.name}.*.old"):
            for left in self.final.parent.glob(pattern):
                shutil.rmtree(left, ignore_errors=True)


def _replacement(final: Path, fingerprint: str) -> Path:
    return final.parent / f".{final.name}.{fingerprint[:16]}.partial"


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    shown = [
        f"{name} differs" if name.endswith("sha256") else f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in names[:_SHOWN_DIFFERENCES]
    ]
    return "; ".join(shown + [f"and {len(names) - len(shown)} more"] * (len(names) > len(shown)))


def _check_bound(final: Path, fingerprint: str, content: dict[str, Any]) -> bool:
    """Whether ``final`` is bound to ``fingerprint``.

    Raises:
        InputError: It is bound to another one; the message says what differs.
    """
    bound = read_json(final / PLAN_NAME, "plan of the shard folder")
    if isinstance(bound, dict) and bound.get("fingerprint") == fingerprint:
        return True
    old = bound.get("content") if isinstance(bound, dict) else None
    raise InputError(
        f"{final} holds shards of other content ({_differences(old if isinstance(old, dict) else {}, content)}); "
        f"replace them by --overwrite, or name another folder by --out"
    )


def _choose(final: Path, fingerprint: str, content: dict[str, Any], overwrite: bool) -> Path:
    """The folder to write in; it need not exist."""
    replacement = _replacement(final, fingerprint)
    if not final.exists() or not any(final.iterdir()):
        # a run that ended between the two renames of finish() left its complete replacement
        if (replacement / RECORD_NAME).is_file() and (replacement / PLAN_NAME).is_file():
            if final.exists():
                final.rmdir()
            replacement.replace(final)
        return final
    if not (final / PLAN_NAME).is_file():
        raise InputError(f"{final} is not empty and holds no shards of ccaf-pipeline; name another folder by --out")
    try:
        _check_bound(final, fingerprint, content)
    except InputError:
        if not (final / RECORD_NAME).is_file() and not any(final.glob(SHARD_PATTERN)):
            (final / PLAN_NAME).unlink()  # nothing was made yet, so nothing is lost
            return final
        if not overwrite:
            raise
        return replacement
    return final


@contextmanager
def _locked(folders: set[Path]) -> Iterator[None]:
    with ExitStack() as stack:
        for folder in sorted(folders):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another run is writing {folder}; wait for it, or name another folder by --out"
                ) from None
        yield


@contextmanager
def open_folder(
    final: Path, fingerprint: str, content: dict[str, Any], names: list[str], overwrite: bool
) -> Iterator[ShardFolder]:
    """Yield the folder for a run, bound to its fingerprint and locked against other runs.

    Args:
        final: Where the finished shards shall be.
        fingerprint: Of ``content``.
        content: All that decides the shards, by name.
        names: File names of the plan.
        overwrite: Replace shards of another fingerprint, once the new ones are complete; those of the same fingerprint
            are kept all the same.

    Raises:
        InputError: The folder is bound to another fingerprint, holds something else, is no folder, cannot be made, or
            another run is writing it.
    """
    if final.exists() and not final.is_dir():
        raise InputError(f"{final} is a file; --out names the folder of the shards")
    final = final.resolve()
    try:
        work = _choose(final, fingerprint, content, overwrite)
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{final} cannot be written: {error.strerror or error}") from error
    with _locked({folder for folder in (final, work) if folder.is_dir()}):
        folder = ShardFolder(final=final, work=work)
        folder.prune(names)
        plan = {"fingerprint": fingerprint, "content": content, "shards": len(names)}
        if not (work / PLAN_NAME).is_file():
            write_json(work / PLAN_NAME, plan)
        yield folder
