"""The few errors that a user can meet. Each message says what is wrong, where, and what to do."""

MOST_CHARACTERS = 2000
"""Of a message; what is longer is cut in its middle."""


def one_line(message: object) -> str:
    """A message as one line that any terminal can show: white space is one space, control characters are escaped."""
    words = " ".join(str(message).split())
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in words
    )
    if len(shown) <= MOST_CHARACTERS:
        return shown
    return f"{shown[: MOST_CHARACTERS // 2]} … {shown[-MOST_CHARACTERS // 2 :]}"


class PipelineError(Exception):
    """Base of every error that is shown to the user as one line, without a traceback."""

    exit_code = 1


class WorkError(PipelineError):
    """The work itself failed although the input was acceptable (exit code 1)."""


class InputError(PipelineError):
    """What the user gave is wrong: a path, a table, a parameter, a file's content (exit code 2)."""

    exit_code = 2


class BadImageError(PipelineError):
    """One image cannot be used. Caught per image: it goes to the quarantine table, the run goes on.

    Attributes:
        reason: A short fixed code, such as ``missing`` or ``truncated``; the quarantine table groups by it.
        detail: One sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        detail = detail.strip() or "no more is known"  # an error of the system may come without a word
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadImageError"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
