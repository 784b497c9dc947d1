"""Log files of vehicles: bytes in, columns out; knows no Django, no settings and no database."""

from parsers.errors import ParseError
from parsers.limits import Limits

__all__ = ["Limits", "ParseError"]
