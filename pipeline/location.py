"""Where something lies: a local path, or a URI of any file system that pyarrow or fsspec knows."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

from pipeline.errors import InputError

URI_BEGINNING: Final = "[a-zA-Z][a-zA-Z0-9+.-]+://"
"""Regular expression of how a URI begins."""
FILE_URI_BEGINNING: Final = "file://"

_SCHEME = re.compile(URI_BEGINNING)

_HOME = re.compile(r"~[\w.-]*(/|$)", re.ASCII)

_SAFE = "/!$&'()*+,;=:@ ~"
"""Kept in file names when they become part of a URI: all but what would end its path or be taken for an escape."""

_OBJECT_STORES = {
    "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2", "b2", "hf", "memory",
}  # fmt: skip
"""Schemes whose writes appear at once and whole, so that no rename is needed."""


@dataclass(frozen=True)
class Location:
    """A file or a folder. Cheap to pickle: connections are made in the process that needs them.

    Attributes:
        uri: A local path, or a URI such as ``s3://bucket/folder?region=eu-west-1``.
    """

    uri: str

    @property
    def local(self) -> Path | None:
        """The path if it is local, else None."""
        return None if _SCHEME.match(self.uri) else Path(self.uri)

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(unquote(urlsplit(self.uri).path)).name if self.local is None else Path(self.uri).name

    @property
    def parent(self) -> "Location":
        """The folder that it is in."""
        return self._with_path(lambda path: path.parent)

    @property
    def object_store(self) -> bool:
        """Whether a write appears there at once and whole."""
        return self.local is None and urlsplit(self.uri).scheme.lower() in _OBJECT_STORES

    def __truediv__(self, name: str) -> "Location":
        """What is called ``name`` in this folder; an absolute local path stays itself in a local folder."""
        return self._with_path(lambda path: path / (name if self.local is not None else quote(name, safe=_SAFE)))

    @property
    def identity(self) -> str:
        """Tells it apart from other places: the absolute path, or the URI without credentials and options."""
        return str(self if self.local is None else self.local.resolve())

    def __str__(self) -> str:
        """For messages: without the credentials or the options that a URI may carry."""
        if self.local is not None:
            return self.uri
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"

    def _with_path(self, change: Any) -> "Location":
        if self.local is not None:
            return Location(str(change(Path(self.uri))))
        parts = urlsplit(self.uri)
        path = str(change(PurePosixPath(parts.path or "/")))
        return Location(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")))


Place: TypeAlias = Location | Path | str


def expand_home(value: Any) -> Any:
    """A path with ``~`` or ``~name`` at its beginning written out, as a shell does; the one meaning of ``~``.

    Every path that an option, a parameter or a YAML file gives passes through here: a shell leaves the ``~`` of
    ``--out=~/x`` as it is, and YAML knows none. A name that no user has stays as it is.

    Args:
        value: A text or a path, or a list or a mapping with such values at any depth; all else is given back.
    """
    if isinstance(value, str):
        return os.path.expanduser(value) if _HOME.match(value) else value  # noqa: PTH111 (an unknown name is no error)
    if isinstance(value, Path):
        return Path(expand_home(str(value)))
    if isinstance(value, Mapping):
        return {key: expand_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_home(item) for item in value]
    return value


def is_file_uri(text: str) -> bool:
    """Whether a text is a URI of a file of this machine."""
    return text[: len(FILE_URI_BEGINNING)].lower() == FILE_URI_BEGINNING


def _path_of_file_uri(text: str) -> str:
    """By RFC 8089, percent signs being escapes; what follows a ``?`` or ``#`` is taken for a part of the name."""
    host, _, path = text[len(FILE_URI_BEGINNING) :].partition("/")
    if host.lower() not in ("", "localhost"):
        raise InputError(f"{text} names the machine {host}; a file of this one is file:/// and its path from the root")
    return os.fsdecode(unquote_to_bytes(f"/{path}"))


def locate(place: Place) -> Location:
    """A place as users give it; ``file://`` URIs become local paths, and ``~`` is the home folder.

    Raises:
        InputError: It is no URI that can be understood.
    """
    if isinstance(place, Location):
        return place
    text = str(expand_home(place))
    if is_file_uri(text):
        text = _path_of_file_uri(text)
    damaged = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):/[^/]", text)
    if isinstance(place, Path) and damaged:  # pathlib makes one slash of two
        text = text.replace(":/", "://", 1)
    return Location(text)
