"""The Hugging Face Hub: checkpoints fetched from it as from any stranger, and folders pushed to it.

Only the files of an encoder checkpoint are fetched, within bounds; none is unpickled, and none can name a file of
this machine. huggingface_hub comes with the extra ``hub``; logging in, tokens and proxies are its own affair.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError, PipelineError, WorkError, one_line
from pipeline.extras import import_extra
from pipeline.limited_reading import read_limited
from pipeline.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME, read_checkpoint, read_config
from pipeline.models.clip import ClipSpec

CARD_NAME: Final = "README.md"
MADE_BY: Final = "ccaf-pipeline push"
MOST_BYTES: Final = {CONFIG_NAME: 16 << 20, WEIGHTS_NAME: 16 << 30}
"""Of the files that are fetched; the largest encoders that open_clip knows have some 10 GB."""
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION: Final = re.compile(r"[\w.][\w./-]{0,199}", re.ASCII)
MOST_CARD_BYTES: Final = 1 << 20
_SHOWN: Final = 200


def load_hub() -> Any:
    """huggingface_hub.

    Raises:
        InputError: It is not installed.
    """
    return import_extra("huggingface_hub", "hub", "the hub")


def check_repository(name: str, revision: str | None = None) -> None:
    """Refuse what is no name of a repository, or of a revision: both become parts of paths and addresses.

    Raises:
        InputError: It is none.
    """
    if not _REPOSITORY.fullmatch(name) or ".." in name:
        raise InputError(f"{one_line(name)[:_SHOWN]} is no repository of the hub: give OWNER/NAME")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError(f"{one_line(revision)[:_SHOWN]} is no revision: give a branch, a tag or a commit")


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _endpoint() -> str | None:
    """The hub's address if it is another, as huggingface_hub names it, at this moment."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _explained(repository: str, revision: str | None, doing: str) -> Iterator[None]:
    """Turn what huggingface_hub raises, in its many kinds, into one line."""
    place = repository if revision is None else f"{repository} at {revision}"
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        kinds, reason = _kinds(error), one_line(error)[:_SHOWN]
        if {"OfflineModeIsEnabled", "LocalEntryNotFoundError"} & kinds:
            raise WorkError(f"cannot {doing} {place}: the hub is not reached and there is no copy here") from error
        if {"RepositoryNotFoundError", "GatedRepoError"} & kinds:
            raise InputError(
                f"cannot {doing} {place}: there is no such repository, or it asks for a login (`hf auth login`)"
            ) from error
        if "RevisionNotFoundError" in kinds:
            raise InputError(f"cannot {doing} {place}: there is no such revision") from error
        if "EntryNotFoundError" in kinds:
            raise InputError(
                f"cannot {doing} {place}: it lacks {CONFIG_NAME} or {WEIGHTS_NAME}: no checkpoint of ccaf-pipeline"
            ) from error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if "LocalTokenNotFoundError" in kinds or status in (401, 403):
            raise InputError(
                f"cannot {doing} {place}: nobody is logged in who may (`hf auth login`, or $HF_TOKEN): {reason}"
            ) from error
        raise WorkError(f"cannot {doing} {place}: {reason}") from error


def _commit_of(hub: Any, repository: str, revision: str | None) -> str:
    """The commit that a revision is now; its files are asked for their sizes before any is fetched.

    Raises:
        InputError: A file is too large.
    """
    commits = set()
    for name, most in MOST_BYTES.items():
        url = hub.hf_hub_url(repository, name, revision=revision, endpoint=_endpoint())
        found = hub.get_hf_file_metadata(url, endpoint=_endpoint())
        if found.size is None or found.size > most:
            raise InputError(f"{name} of {repository} has {found.size} bytes, more than {most}: it is not fetched")
        commits.add(str(found.commit_hash))
    if len(commits) != 1:
        raise WorkError(f"{repository} changed while it was looked at: run the same command again")
    (commit,) = commits
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise WorkError(f"{repository}: the hub gave no commit")
    return commit


def _is_unreachable(error: BaseException) -> bool:
    """Whether no answer came at all, in which case a copy of earlier serves."""
    kinds = _kinds(error)
    return bool({"OfflineModeIsEnabled", "ConnectError", "ConnectionError", "TimeoutException", "Timeout"} & kinds)


def fetch_checkpoint(repository: str, revision: str | None = None) -> Path:
    """Fetch an encoder checkpoint into huggingface_hub's own cache, and check it.

    Without an answer of the hub, the copy that was fetched earlier is taken.

    Args:
        repository: ``owner/name``.
        revision: Branch, tag or commit; None: the main branch.

    Returns:
        The folder in the cache, not to be changed: ``config.json`` and ``weights.safetensors``, whole, of one commit.

    Raises:
        InputError: There is no such repository or revision, or it holds no encoder checkpoint that can be used.
        WorkError: The hub does not answer, and there is no copy.
    """
    check_repository(repository, revision)
    hub = load_hub()
    with _explained(repository, revision, "fetch"):
        commit: str | None = None
        try:
            commit = _commit_of(hub, repository, revision)
        except PipelineError:
            raise
        except Exception as error:  # of the network library, of which there are several
            if not _is_unreachable(error):
                raise
        places = [
            Path(
                hub.hf_hub_download(
                    repository,
                    name,
                    revision=revision,  # not the commit: by this name it is found again without the hub
                    cache_dir=os.environ.get("HF_HUB_CACHE"),
                    endpoint=_endpoint(),
                    local_files_only=commit is None,
                )
            )
            for name in MOST_BYTES
        ]
    (folder, *others) = dict.fromkeys(place.parent for place in places)
    if others or (commit is not None and folder.name != commit):
        raise WorkError(f"{repository} changed while it was fetched: run the same command again")
    check_stranger(folder, repository)
    return folder


def fetch_card(repository: str, commit: str) -> str:
    """The model card of a commit; where it has none, or none of a size to be read, a line that says so.

    Raises:
        InputError, WorkError: See :func:`fetch_checkpoint`.
    """
    hub = load_hub()
    none = f"# {repository}\n\nNo model card came with commit {commit}.\n"
    url = hub.hf_hub_url(repository, CARD_NAME, revision=commit, endpoint=_endpoint())
    with _explained(repository, commit, "fetch the card of"):
        try:
            if (hub.get_hf_file_metadata(url, endpoint=_endpoint()).size or 0) > MOST_CARD_BYTES:
                return none
            place = hub.hf_hub_download(
                repository, CARD_NAME, revision=commit, cache_dir=os.environ.get("HF_HUB_CACHE"), endpoint=_endpoint()
            )
            return read_limited(Path(place), MOST_CARD_BYTES).decode(errors="replace")
        except Exception as error:
            if "EntryNotFoundError" in _kinds(error) or _is_unreachable(error):
                return none
            raise


def check_stranger(folder: Path, repository: str) -> None:
    """Check a checkpoint of another hand beyond its form: what it names must not be of this machine.

    Raises:
        InputError: The configuration or the weights are damaged, are too large, or name a file.
    """
    for name, most in MOST_BYTES.items():
        if (folder / name).is_file() and (folder / name).stat().st_size > most:
            raise InputError(f"{name} of {repository} has more than {most} bytes: it is not read")
    config = read_config(folder, "encoder", MADE_BY)
    if "model" not in config:
        raise InputError(f"{repository}: {CONFIG_NAME} does not describe its model")
    check_portable(ClipSpec.from_dict(config["model"]), repository)
    read_checkpoint(folder, "encoder", MADE_BY)


def check_portable(spec: ClipSpec, what: str) -> None:
    """Refuse a model that is described by a file: elsewhere there is none, or another one.

    Raises:
        InputError: It is one.
    """
    if spec.name.endswith(".json") or "/" in spec.name or "\\" in spec.name:
        raise InputError(
            f"{what}: its model is the file {one_line(spec.name)[:_SHOWN]}; only models that open_clip or this package "
            f"knows by name can be shared"
        )


def push_folder(folder: Path, repository: str, private: bool, message: str) -> str:
    """Make a repository if there is none, and upload a folder into it as one commit.

    Args:
        folder: All of it is uploaded.
        repository: ``owner/name``.
        private: Of a repository that is made now.
        message: Of the commit.

    Returns:
        The repository's address.

    Raises:
        InputError: The name is wrong, or nobody is logged in or may write there.
        WorkError: The hub does not answer.
    """
    check_repository(repository)
    hub = load_hub()
    with _explained(repository, None, "push"):
        api = hub.HfApi(endpoint=_endpoint())
        url = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
        return str(url)
