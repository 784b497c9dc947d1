"""The vehicle's token: read from a file that only its owner may read, or from the environment; never from the command line."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from argus_uploader import durable
from argus_uploader.errors import BadConfig, LocalTrouble

VARIABLE = "ARGUS_UPLOADER_TOKEN"
LONGEST = 1024


class Token:
    """The token as it is now: a file that another process has replaced is read again."""

    def __init__(self, file: str, environment: Mapping[str, str] | None = None, *, has_certificate: bool = False) -> None:
        environment = os.environ if environment is None else environment
        self._path = Path(file) if file else None
        self._text = "" if file else environment.get(VARIABLE, "").strip()
        self._seen: tuple[int, int, int] | None = None
        if self._path is None and not self._text and not has_certificate:
            raise BadConfig(f"a token is needed: token-file, or {VARIABLE} in the environment (argus-uploader enrol gets one)")

    def __call__(self) -> str:
        """The text, empty where a certificate stands for it; BadConfig where the file is missing, open to others, or holds no token."""
        if self._path is None:
            return self._text
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._text = read_secret(self._path)
                self._seen = seen
        except FileNotFoundError:
            raise BadConfig(f"there is no token in {self._path}: argus-uploader enrol gets one") from None
        except OSError as error:
            raise BadConfig(f"the token in {self._path} cannot be read: {error.strerror}") from error
        return self._text


def read_secret(path: Path) -> str:
    """The one word in a file that nobody else may read; BadConfig, OSError."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise BadConfig(f"{path} is no regular file")
        if found.st_mode & 0o077:
            raise BadConfig(f"others may read {path}: chmod 600 {path}")
        if found.st_uid not in {os.geteuid(), 0}:
            raise BadConfig(f"{path} belongs to another user")
        content = file.read(LONGEST + 1)
    with contextlib.suppress(UnicodeDecodeError):
        text = content.decode("ascii").strip()
        if text and len(content) <= LONGEST and text.isprintable() and " " not in text:
            return text
    raise BadConfig(f"{path} holds no token")


def write_secret(path: Path, text: str) -> None:
    """Keeps a token so that only its owner can read it; LocalTrouble."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, text.encode("ascii") + b"\n", 0o600)
    except OSError as error:
        raise LocalTrouble(f"the token cannot be written to {path}: {error.strerror}") from error
