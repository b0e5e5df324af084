"""The output folder of a parse: bound to a fingerprint, locked while it is written, replaced only by a complete one."""

import fcntl
import glob
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import sync_folder
from pipeline.location import Location, Place, locate
from pipeline.ownership import describe_foreign
from pipeline.shards.schema import PLAN_NAME, QUARANTINE_NAME, RECORD_NAME, SHARD_PATTERN
from pipeline.storage import (
    copy_file,
    is_file,
    list_folders,
    list_names,
    read_json,
    remove_empty_folder,
    remove_file,
    write_json,
)

_SHOWN_DIFFERENCES = 4

_SHARD = re.compile(r"part-(\d{5,})-of-(\d{5,})\.parquet")
_HALF_WRITTEN = re.compile(
    rf"\.(part-\d{{5,}}-of-\d{{5,}}\.parquet|{PLAN_NAME}|{RECORD_NAME}|{QUARANTINE_NAME})\.\w+\.tmp"
)
"""Names of ours: of a shard, and of a file that a killed run did not finish."""

_FINGERPRINT_CHARACTERS = 16
"""Of those in the name of a replacement; a fixed number, so that those of folder ``a.b`` are not taken for ``a``'s."""


@dataclass(frozen=True)
class ShardFolder:
    """Where a run writes.

    Attributes:
        final: Where the finished shards shall be.
        work: Where they are written now: ``final`` itself, or a hidden folder beside it that takes its place later.
        of_other_program: Whether another version of the program began the folder, and its shards are kept.
    """

    final: Location
    work: Location
    of_other_program: bool = False

    def committed(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that are there."""
        found = set(list_names(self.work, SHARD_PATTERN))
        return [name for name in names if name in found]

    def invalidate(self) -> None:
        """Mark the folder as unfinished, before anything in it changes."""
        remove_file(self.work / RECORD_NAME)
        if self.work.local is not None:
            sync_folder(self.work.local)

    def prune(self, names: Iterable[str]) -> None:
        """Remove what crashes left half-written, and own shards that are not among ``names``."""
        names = frozenset(names)  # a list of thousands would be walked for each file
        for left in own_files(self.work):
            if _HALF_WRITTEN.fullmatch(left) or (_SHARD.fullmatch(left) and left not in names):
                remove_file(self.work / left)

    def finish(self) -> None:
        """Put a replacement in its place, after its record was written, and remove what earlier runs left beside.

        Raises:
            InputError: The folder to be replaced has got files that no record lists.
        """
        if self.work != self.final:
            _refuse_foreign(self.final)
            if self.final.local is not None and self.work.local is not None:
                _rename_into_place(self.work.local, self.final.local)
            else:
                _copy_into_place(self.work, self.final)
        name = glob.escape(self.final.name)
        for pattern in (f".{name}.{'?' * _FINGERPRINT_CHARACTERS}.partial", f".{name}.{'?' * 8}.old"):
            for left in list_folders(self.final.parent, pattern):
                folder = self.final.parent / left
                for old in [folder / self.final.name, folder] if left.endswith(".old") else [folder]:
                    remove_own(old)


def _planned(folder: Location) -> int | None:
    """The number of shards that a folder's plan tells; None if it is no folder of ours."""
    try:
        plan = read_json(folder / PLAN_NAME, "plan of the shard folder")
    except InputError:
        return None
    count = plan.get("shards") if isinstance(plan, dict) and "fingerprint" in plan else None
    return count if isinstance(count, int) else None


def own_files(folder: Location) -> list[str]:
    """Names of the files in a shard folder that its plan accounts for; none where there is no plan of ours."""
    count = _planned(folder)
    if count is None:
        return []
    return [
        name
        for name in list_names(folder)
        if name in (PLAN_NAME, RECORD_NAME, QUARANTINE_NAME)
        or _HALF_WRITTEN.fullmatch(name)
        or ((shard := _SHARD.fullmatch(name)) is not None and int(shard[1]) < int(shard[2]) == count)
    ]


def _refuse_foreign(folder: Location) -> None:
    """Refuse a shard folder that is to be replaced and holds more than its plan accounts for.

    Raises:
        InputError: It does.
    """
    own = set(own_files(folder))
    found = [name for name in list_names(folder) if name not in own] + [f"{name}/" for name in list_folders(folder)]
    if found:
        raise InputError(
            f"{folder} holds what ccaf-pipeline did not write ({describe_foreign(found)}): move it elsewhere and run "
            f"the same command again, or name another folder by --out"
        )


def remove_own(folder: Location) -> None:
    """Remove a shard folder's own files, the plan last, and the folder if nothing else is in it."""
    for name in sorted(own_files(folder), key=lambda name: name == PLAN_NAME):
        remove_file(folder / name)
    remove_empty_folder(folder)


def _rename_into_place(work: Path, final: Path) -> None:
    if final.exists():
        old = final.with_name(f".{final.name}.{secrets.token_hex(4)}.old")
        old.mkdir()
        final.replace(old / final.name)
    work.replace(final)
    sync_folder(final.parent)


def _copy_into_place(work: Location, final: Location) -> None:
    """Object stores have no rename: copy on the store's side; the record goes first and comes last.

    A run that ends in between leaves a folder without a record, and its complete replacement, which is adopted.
    """
    remove_file(final / RECORD_NAME)
    names = [name for name in own_files(work) if name not in (PLAN_NAME, RECORD_NAME)]
    kept = frozenset(names)
    for left in own_files(final):
        if _SHARD.fullmatch(left) and left not in kept:
            remove_file(final / left)
    for name in [PLAN_NAME, *names, RECORD_NAME]:
        copy_file(work / name, final / name)
    remove_own(work)


def _replacement(final: Location, fingerprint: str) -> Location:
    return final.parent / f".{final.name}.{fingerprint[:_FINGERPRINT_CHARACTERS]}.partial"


def _is_complete(folder: Location) -> bool:
    return is_file(folder / RECORD_NAME) and is_file(folder / PLAN_NAME)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    shown = [
        f"{name} differs" if name.endswith("sha256") else f"{name} was {old.get(name)}, is {new.get(name)}"
        for name in names[:_SHOWN_DIFFERENCES]
    ]
    return "; ".join(shown + [f"and {len(names) - len(shown)} more"] * (len(names) > len(shown)))


def bound_fingerprint(folder: Place) -> str | None:
    """What a folder is bound to; None if it is not bound, or its plan is damaged."""
    try:
        bound = read_json(locate(folder) / PLAN_NAME, "plan of the shard folder")
    except InputError:
        return None
    return str(bound.get("fingerprint")) if isinstance(bound, dict) else None


def _check_bound(final: Location, fingerprint: str, content: dict[str, Any]) -> None:
    """Check that ``final`` is bound to ``fingerprint``.

    Raises:
        InputError: It is bound to another one; the message says what differs.
    """
    bound = read_json(final / PLAN_NAME, "plan of the shard folder")
    if isinstance(bound, dict) and bound.get("fingerprint") == fingerprint:
        return
    old = bound.get("content") if isinstance(bound, dict) else None
    raise InputError(
        f"{final} holds shards of other content ({_differences(old if isinstance(old, dict) else {}, content)}); "
        f"replace them by --overwrite, or name another folder by --out"
    )


def _is_of_other_program(folder: Location, program: str | None) -> bool:
    """Whether a bound folder was begun by another version of the program; False where that is not known."""
    if program is None or not is_file(folder / PLAN_NAME):
        return False
    bound = read_json(folder / PLAN_NAME, "plan of the shard folder")
    return isinstance(bound, dict) and bound.get("program") not in (None, program)


def _is_empty(folder: Location) -> bool:
    return not list_names(folder) and not list_folders(folder)


def _holds_half_written_only(folder: Location) -> bool:
    return not list_folders(folder) and all(_HALF_WRITTEN.fullmatch(name) for name in list_names(folder))


def _adopt(replacement: Location, final: Location) -> None:
    """Finish what a run that ended in :meth:`ShardFolder.finish` left: its complete replacement."""
    if final.local is not None and replacement.local is not None:
        replacement.local.replace(final.local)  # an empty folder there gives way
        sync_folder(final.local.parent)
    else:
        _copy_into_place(replacement, final)


def _choose(
    final: Location, fingerprint: str, content: dict[str, Any], program: str | None, overwrite: bool
) -> Location:
    """The folder to write in; a replacement need not exist."""
    replacement = _replacement(final, fingerprint)
    # only the copying of finish() leaves a bound folder without a record beside a complete replacement
    copying = final.local is None and is_file(final / PLAN_NAME) and not is_file(final / RECORD_NAME)
    if (copying or _is_empty(final)) and _is_complete(replacement):
        _adopt(replacement, final)
    if _is_empty(final):
        return final
    if not is_file(final / PLAN_NAME) and _holds_half_written_only(final):
        return final  # a run was killed before it had bound the folder
    if not is_file(final / PLAN_NAME):
        raise InputError(f"{final} is not empty and holds no shards of ccaf-pipeline; name another folder by --out")
    try:
        _check_bound(final, fingerprint, content)
        if not (overwrite and _is_of_other_program(final, program)):
            return final
    except InputError:
        own = own_files(final)
        if own and not any(name == RECORD_NAME or _SHARD.fullmatch(name) for name in own):
            for name in own:  # nothing was made yet, so nothing is lost
                remove_file(final / name)
            return final
        if not overwrite:
            raise
    _refuse_foreign(final)
    if is_file(replacement / PLAN_NAME) and _is_of_other_program(replacement, program):
        remove_own(replacement)
    return replacement


def _lock(folder: Path, locks: ExitStack) -> int:
    """Lock a folder until ``locks`` end; gives the descriptor that holds the lock.

    Raises:
        InputError: Another run has it, or has put another folder in its place just now.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    locks.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat())
    except BlockingIOError:
        free = False
    except OSError:  # a file system without locks: as safe as one that is remote
        return descriptor
    if not free:
        raise InputError(f"another run is writing {folder}; wait for it, or name another folder by --out")
    return descriptor


def _choose_locked(
    final: Location,
    fingerprint: str,
    content: dict[str, Any],
    program: str | None,
    overwrite: bool,
    locks: ExitStack,
) -> Location:
    """As :func:`_choose`, with what is local made and locked; nothing is looked at or changed before it is locked."""
    if final.local is None:
        return _choose(final, fingerprint, content, program, overwrite)
    final.local.mkdir(parents=True, exist_ok=True)
    held = _lock(final.local, locks)
    work = _choose(final, fingerprint, content, program, overwrite)
    assert work.local is not None, "a replacement is beside its folder"
    work.local.mkdir(exist_ok=True)
    if not os.path.samestat(os.fstat(held), work.local.stat()):  # a replacement, or one that was adopted
        _lock(work.local, locks)
    return work


@contextmanager
def open_folder(
    place: Place,
    fingerprint: str,
    content: dict[str, Any],
    names: list[str],
    overwrite: bool,
    program: str | None = None,
) -> Iterator[ShardFolder]:
    """Yield the folder for a run, bound to its fingerprint and, where it is local, locked against other runs.

    Two runs of the same content that write one remote folder at the same time do each other's work again, to the same
    bytes; nothing else comes of it.

    Args:
        place: Where the finished shards shall be.
        fingerprint: Of ``content``.
        content: All that decides the shards, by name.
        names: File names of the plan.
        overwrite: Replace shards of another fingerprint or another program, once the new ones are complete; others are
            kept all the same.
        program: What identifies the program that makes the shards; None: any program counts as the same.

    Raises:
        InputError: The folder is bound to another fingerprint, holds something else, is no folder, cannot be made, or
            another run is writing it.
        StorageError: A remote file system does not answer.
    """
    final = _resolve(locate(place))
    if is_file(final):
        raise InputError(f"{place} is a file; --out names the folder of the shards")
    with ExitStack() as locks:
        try:
            work = _choose_locked(final, fingerprint, content, program, overwrite, locks)
        except OSError as error:
            raise InputError(f"{final} cannot be written: {error.strerror or error}") from error
        folder = ShardFolder(final=final, work=work, of_other_program=_is_of_other_program(work, program))
        if not is_file(work / PLAN_NAME):
            plan = {"fingerprint": fingerprint, "content": content, "shards": len(names)}
            write_json(work / PLAN_NAME, plan if program is None else {**plan, "program": program})
        folder.prune(names)
        yield folder


def _resolve(location: Location) -> Location:
    return location if location.local is None else locate(location.local.resolve())
