"""What a data set says of clothes that nobody wore, besides the terms of the one that it was made from."""


def with_notice(terms: str, notice: str) -> str:
    """Terms of a data set, with a notice that stands there once, however often clothes were changed."""
    before = terms.replace(notice, "").strip()
    stop = "" if not before or before.endswith((".", "!", "?")) else "."
    return f"{before}{stop} {notice}".strip()
