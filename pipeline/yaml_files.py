"""The one reader of YAML files: safe, bounded, and with every key once. What is wrong comes out in one line."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.errors import InputError, one_line
from pipeline.limited_reading import FileTooLargeError, read_limited

MAX_BYTES: Final = 1_000_000
"""Size of a YAML file."""
MAX_DEPTH: Final = 50
"""Lists and mappings inside one another."""
MAX_VALUES: Final = 100_000
"""Values, each counted as often as aliases repeat it: a few lines of aliases can stand for billions."""
MAX_DIGITS: Final = 100
"""Characters of a number."""

_INTEGER, _FLOAT, _DATE, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp", "merge"))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds. Dates stay texts: no value of the program is one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (the library's own attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node with all below it; its depth is bounded before Python's own stack is."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_DEPTH} levels inside one another", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; that its text is no value of its tag is an error of the file, with its place."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # the library's constructors let any out at a text that a tag does not fit
            kind = str(node.tag).rpartition(":")[2]
            raise _problem(node, f"{str(node.value)[:40]!r} is no value of the type {kind}") from error

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number of bounded length."""
        _check_digits(node)
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number of bounded length."""
        _check_digits(node)
        return super().construct_yaml_float(node)


_Loader.add_constructor(_INTEGER, _Loader.construct_yaml_int)
_Loader.add_constructor(_FLOAT, _Loader.construct_yaml_float)


def _problem(node: yaml.Node, text: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def _check_digits(node: yaml.ScalarNode) -> None:
    if len(node.value) > MAX_DIGITS:
        raise _problem(node, f"a number of more than {MAX_DIGITS} characters")


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a key that stands twice: the reader would keep the last value and say nothing."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            named = (key.tag, key.value)
            if named in lines:
                raise _problem(key, f"the key {key.value} stands twice, first in line {lines[named]}")
            lines[named] = key.start_mark.line + 1


def _check_nodes(root: yaml.Node) -> None:
    """Check keys, and the number of values with all aliases written out."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise _problem(node, "an alias that leads back into the value that it is part of")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
            sizes[id(node)] = 1 + sum(map(size, _children(node)))
            open_nodes.remove(id(node))
            if sizes[id(node)] > MAX_VALUES:
                raise _problem(node, f"more than {MAX_VALUES:,} values, those that aliases repeat included")
        return sizes[id(node)]

    size(root)


def _describe(error: Exception) -> str:
    """An error of the YAML reader in one line: the place and the problem."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return one_line(error) or type(error).__name__
    return f"line {mark.line + 1}, column {mark.column + 1}: {one_line(getattr(error, 'problem', None) or error)}"


def _compose(loader: _Loader) -> yaml.Node | None:
    node: yaml.Node | None = loader.get_single_node()
    if node is not None:
        _check_nodes(node)
    return node


def check_yaml(data: str | bytes) -> None:
    """Check a YAML text by the bounds and for keys that stand twice, without making values of it; tags are not judged.

    Raises:
        ValueError: It is no YAML, a key stands twice, or a bound is exceeded; the message is one line.
    """
    loader = None
    try:
        loader = _Loader(data)
        _compose(loader)
    except yaml.YAMLError as error:
        raise ValueError(_describe(error)) from error
    finally:
        if loader is not None:
            loader.dispose()


def parse_yaml(data: str | bytes) -> Any:
    """The value of a YAML text; None if it is empty.

    Raises:
        ValueError: It is no YAML, a key stands twice, or a bound is exceeded; the message is one line.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(str(FileTooLargeError(len(data), MAX_BYTES)))
    loader = None
    try:
        loader = _Loader(data)
        node = _compose(loader)
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(_describe(error)) from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path, what: str) -> Any:
    """The value of a YAML file; None if it is empty.

    Args:
        path: The file.
        what: What it is, for errors, such as ``parameter file``.

    Raises:
        InputError: It is missing, cannot be read, is no YAML, has a key twice, or exceeds a bound.
    """
    try:
        return parse_yaml(read_limited(path, MAX_BYTES, special=True))
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror or _describe(error)}") from error
    except ValueError as error:
        raise InputError(f"{what} {path} cannot be read as YAML: {_describe(error)}") from error


def open_yaml(path: Path) -> io.StringIO:
    """A YAML file's text for another library's reader, checked by :func:`check_yaml` first.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, no text, no YAML, has a key twice, or exceeds a bound.
    """
    text = read_limited(path, MAX_BYTES).decode("utf-8-sig")
    check_yaml(text)
    return io.StringIO(text)
