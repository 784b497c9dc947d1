"""The demo fleet: recorded drives of vehicles that never were, sent by the program that runs in vehicles."""

import sys
from pathlib import Path

# The vehicle's program is a package of its own, installed in vehicles and not here.
_UPLOADER = str(Path(__file__).resolve().parent.parent / "uploader")
if _UPLOADER not in sys.path:
    sys.path.append(_UPLOADER)
