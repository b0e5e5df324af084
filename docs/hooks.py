"""What the documentation's build does beside MkDocs: files of the repository as pages, and equations as MathML.

A paragraph that is nothing but a link to a Markdown file outside of ``docs/`` is replaced by that file's text, so that
the file is written once and the link still works where the repository is browsed. Other links that leave ``docs/``
become plain text, as the built pages stand alone.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.exceptions import PluginError

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"

_INCLUDE = re.compile(r"^\[[^\]]*\]\(((?:\.\./)+[^)#]+\.md)\)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_EQUATION = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.MULTILINE | re.DOTALL)


def included_files(docs: Path = DOCS) -> dict[Path, Path]:
    """Files outside of the documentation that are pages of it, and the page that each is."""
    found = {}
    for page in sorted(docs.rglob("*.md")):
        for link in _INCLUDE.findall(page.read_text()):
            found[(page.parent / link).resolve()] = page
    return found


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with everything changed but fenced code blocks."""
    return "".join(part if part.startswith("```") else change(part) for part in _FENCED.split(text))


def _relink(text: str, source: Path, page: Path, pages: dict[Path, Path]) -> str:
    """Links of a file as they must be on a page: between pages, or no link at all where they leave the site."""

    def new_link(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        there = (source.parent / path).resolve()
        there = pages.get(there, there)
        if not there.is_relative_to(DOCS):
            return words
        return f"[{words}]({os.path.relpath(there, page.parent)}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(new_link, text)


def render(markdown: str, page: Path, pages: dict[Path, Path]) -> str:
    """The Markdown of a page as MkDocs is to read it.

    Args:
        markdown: As it stands in the file.
        page: Its path in ``docs/``.
        pages: See :func:`included_files`.

    Raises:
        FileNotFoundError: A file that the page includes does not exist.
    """

    def include(link: str) -> str:
        source = (page.parent / link).resolve()
        return _outside_code(source.read_text(), lambda part: _relink(part, source, page, pages)).strip()

    def change(part: str) -> str:
        pieces = _INCLUDE.split(part)  # text and links to included files in turn
        for index, piece in enumerate(pieces):
            pieces[index] = (
                include(piece) if index % 2 else _EQUATION.sub(_as_mathml, _relink(piece, page, page, pages))
            )
        return "".join(pieces)

    return _outside_code(markdown, change)


def _as_mathml(match: re.Match[str]) -> str:
    return f'<div class="equation">{latex2mathml.converter.convert(match[1], display="block")}</div>'


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs calls this with each page's text."""
    return render(markdown, Path(page.file.abs_src_path), included_files())


def on_post_page(output: str, page: Any, config: Any) -> str:
    """MkDocs calls this with each page's HTML, which may load nothing from elsewhere: it is read offline, too.

    Raises:
        PluginError: It would.
    """
    fetched = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(https?://[^\"]*)", output)
    if fetched:
        raise PluginError(f"{page.file.src_path} loads {', '.join(fetched)}; put the file into docs/assets/")
    return output
