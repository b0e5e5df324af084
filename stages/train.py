"""``ccaf-pipeline train``: stage 1 (prompts), stage 2 (encoder), or both."""


def command() -> None:
    """Train."""
