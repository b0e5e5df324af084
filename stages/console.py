"""How every command speaks: results on standard output, everything else on standard error, errors as one line."""

import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Console:
    """What a command writes for its user.

    Attributes:
        quiet: No progress and no remarks.
        as_json: The result is one JSON object on standard output.
    """

    quiet: bool = False
    as_json: bool = False

    def say(self, text: str) -> None:
        """A remark for a person: what was found, what was written, what to run next."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def result(self, value: dict[str, Any], text: str) -> None:
        """The command's result: ``value`` as JSON with ``--json``, else ``text``; on standard output."""
        print(json.dumps(value, sort_keys=True) if self.as_json else text, flush=True)
