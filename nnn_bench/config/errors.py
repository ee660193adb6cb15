"""The one error a person at the terminal can mend, and how it is worded.

Everything that is wrong with what the user gave (a file, a key, a name, a number out of range, a device that is not
there) is raised as `UserError` and printed by the command line as one line; anything else is a defect of the product and
keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_LISTED = 20
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_]*\Z")


class UserError(Exception):
    """Bad input, said in one line: `FILE: KEY: what is wrong; how to mend it`."""

    def __init__(self, message: str, *, file: Path | str | None = None, key: str | None = None):
        self.message, self.file, self.key = " ".join(message.split()), file, key
        super().__init__(": ".join(str(part) for part in (file, key, self.message) if part))

    def located(self, file: Path | str) -> UserError:
        """The same error, naming `file` if it names none yet."""
        return UserError(self.message, file=self.file or file, key=self.key)

    def below(self, place: str, *, file: Path | str) -> UserError:
        """The same error; a key of `file` is one below `place` there."""
        if self.key is None or str(self.file) != str(file):
            return self
        return type(self)(self.message, file=self.file, key=f"{place}.{self.key}")


class RunBusy(Exception):
    """Another process holds what is asked for; nothing was touched."""


class Terminated(Exception):
    """The process was asked to stop; a checkpoint was written first."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list what there is, as far as one line can."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(names) > _LISTED:
        return f"known: {', '.join(names[:_LISTED])} and {len(names) - _LISTED} more"
    return f"known: {', '.join(names)}" if names else "there is none"


def checked_name(name: str, *, what: str, file: Path | str | None = None) -> str:
    """Return `name` if it is a plain lower-case word that can never leave its folder, else refuse it."""
    if not _SAFE_NAME.match(name):
        raise UserError(f"{what} {name!r} is not a name; use lower-case letters, digits and _", file=file)
    return name
