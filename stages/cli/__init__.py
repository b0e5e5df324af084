"""The command line: one thin file a command (options, one call of a recipe, what is said at the end)."""

from stages.cli.app import app, main, run

__all__ = ["app", "main", "run"]
