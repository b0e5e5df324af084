"""What is wrong with a YAML file, in one line."""


def one_line(error: Exception) -> str:
    """An error of the YAML reader in one line: the place and the problem."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', error)}"
