"""`.env.example` and the settings name the same variables."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_variable_of_the_settings_stands_in_the_example_and_the_other_way_round():
    settings = set(re.findall(r"env\.\w+\(\"([A-Z_0-9]+)\"", (ROOT / "argus_site" / "settings.py").read_text()))
    example = set(re.findall(r"^#?([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert settings == example
