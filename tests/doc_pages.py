"""The documentation as tests read it: its pages, their code blocks, and a program changed as a page says."""

import ast
import re
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
PAGES = [README, REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def code_blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code_block(page: Path, language: str, holding: str) -> str:
    """The one code block of a page that holds a text."""
    (found,) = (block for block in code_blocks(page, language) if holding in block)
    return found


def section(page: Path, heading: str) -> str:
    """The text below a heading of a page, which must be there once, up to the next heading that is not below it."""
    lines = page.read_text().splitlines(keepends=True)
    (start,) = (number for number, line in enumerate(lines, 1) if line.rstrip("\n") == heading)
    ends = re.compile(rf"#{{1,{len(heading.split()[0])}}} ")
    found, fenced = [], False
    for line in lines[start:]:
        fenced ^= line.startswith("```")
        if not fenced and ends.match(line):
            break
        found.append(line)
    return "".join(found)


def extended_copy(page: Path, folder: Path) -> Path:
    """A copy of the program in which a page's steps were done.

    A block whose first line names a file that does not exist is that file; lines for a file that exists are put into
    it: imports below its imports, anything else below the last line of the same form.
    """
    for name in ("pipeline", "stages", "data_manifests"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for language in ("python", "yaml"):
        for block in code_blocks(page, language):
            first, _, rest = block.partition("\n")
            path = folder / re.split(r"[, ]", first.removeprefix("# "))[0]
            if path.exists():
                path.write_text(_with_lines(path.read_text(), rest))
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(rest)
    return folder


def _with_lines(source: str, added: str) -> str:
    lines = source.splitlines(keepends=True)
    if added.startswith(("from ", "import ")):
        imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        after = max(node.end_lineno or 0 for node in imports)
    else:
        form = re.compile(re.sub(r"\w+", r"\\w+", re.escape(added.rstrip("\n")), count=1) + "$")
        after = max(number for number, line in enumerate(lines, 1) if form.match(line.rstrip("\n")))
    return "".join([*lines[:after], added, *lines[after:]])
