"""Forms of the pages about diagnosis."""

from __future__ import annotations

from typing import Any

from django import forms

from common.errors import ArgusError
from diagnosis.known_codes import MAX_BYTES, tidy
from diagnosis.models import KnownCode

PLATFORMS: Any = KnownCode._meta.get_field("platform").related_model._default_manager  # imports go down only


class KnownCodeForm(forms.ModelForm):
    """One code, written as people write it."""

    class Meta:
        model = KnownCode
        fields = ("platform", "code", "text", "severity", "action")

    def clean_code(self) -> str:
        """As codes are compared."""
        try:
            return tidy(self.cleaned_data["code"])
        except ArgusError as error:
            raise forms.ValidationError(error.detail) from error


class CodeTableForm(forms.Form):
    """A table of codes."""

    platform = forms.ModelChoiceField(
        PLATFORMS.all(),
        required=False,
        empty_label="all platforms",
        help_text="Codes of makers (P1, C1, B1, U1) mean something else in each make: choose the platform",
    )
    file = forms.FileField(label="CSV file", help_text=f"At most {MAX_BYTES >> 20} MiB")

    def clean_file(self) -> Any:
        """Refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(f"The file has {file.size} bytes; at most {MAX_BYTES} are allowed.")
        return file
