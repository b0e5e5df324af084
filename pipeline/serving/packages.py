"""The packages of the extra ``serve``, looked for before anything is opened."""

from pipeline.extras import import_extra


def check_packages() -> None:
    """Import what the search page needs besides the package's own dependencies.

    Raises:
        InputError: A package is not installed.
    """
    for name in ("fastapi", "uvicorn"):
        import_extra(name, "serve", "--serve")
