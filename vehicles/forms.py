"""Forms of the vehicle pages."""

from __future__ import annotations

from typing import Any

from django import forms

from vehicles.models import INTEGRATION_SCOPES, Platform, Scope, SignalDatabase, Vehicle
from vehicles.signal_databases import MAX_BYTES

SCOPE_WORDS = {Scope.BATCH_READ: "read batches of all vehicles", Scope.BATCH_DELETE: "delete batches"}


class VehicleForm(forms.ModelForm):
    """Takes a VIN as people type it: small letters and spaces do no harm."""

    class Meta:
        model = Vehicle
        fields = ("vin", "name", "fleet", "platform")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "vin" in self.fields:
            # The field's own length and form are checked after clean_vin has tidied it.
            self.fields["vin"] = forms.CharField(
                label="VIN", max_length=40, widget=forms.TextInput(attrs={"class": "vTextField mono", "spellcheck": "false"})
            )
            self.fields["vin"].validators = []

    def clean_vin(self) -> str:
        """Without spaces, in capitals."""
        return "".join(str(self.cleaned_data["vin"]).split()).upper()


class TokenForm(forms.Form):
    """A token of an integration; tokens of vehicles are made on the vehicle's page."""

    label = forms.CharField(max_length=100, help_text="What or who uses it", widget=forms.TextInput(attrs={"class": "vTextField"}))
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{SCOPE_WORDS[scope]} ({scope.value})") for scope in INTEGRATION_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.BATCH_READ.value],
        label="It may",
    )


class DatabaseForm(forms.Form):
    """A signal database for a platform."""

    platform = forms.ModelChoiceField(Platform.objects.all(), help_text="All its vehicles are decoded with it")
    name = forms.CharField(
        max_length=SignalDatabase._meta.get_field("name").max_length,
        help_text="For example: powertrain. A file under a name that exists becomes its next version and retires the last one.",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    channel = forms.CharField(
        max_length=SignalDatabase._meta.get_field("channel").max_length,
        required=False,
        help_text="Only for this bus (can0, 1, …); empty for every bus",
    )
    software = forms.CharField(
        max_length=SignalDatabase._meta.get_field("software").max_length,
        required=False,
        label="Software component",
        help_text="Only for batches that name this component in their software (vcu, gateway, …); empty for every batch",
    )
    software_from = forms.CharField(
        max_length=SignalDatabase._meta.get_field("software_from").max_length,
        required=False,
        label="From its version",
        help_text="This version and later ones: 2.3",
    )
    software_before = forms.CharField(
        max_length=SignalDatabase._meta.get_field("software_before").max_length,
        required=False,
        label="Before its version",
        help_text="Versions before this one: 3.0",
    )
    file = forms.FileField(label="File", help_text=f"DBC, ARXML, KCD or SYM, at most {MAX_BYTES >> 20} MiB")

    def clean_file(self) -> Any:
        """Refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(f"The file has {file.size} bytes; at most {MAX_BYTES} are allowed.")
        return file


class DatabaseUseForm(forms.ModelForm):
    """Only whether a version is used; what it says is immutable."""

    class Meta:
        model = SignalDatabase
        fields = ("active",)

    def clean(self) -> dict[str, Any]:
        """One active version a name and binding: the other one has to be retired first."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("active"):
            binding = {name: getattr(self.instance, name) for name in ("software", "software_from", "software_before")}
            same = SignalDatabase.objects.filter(platform=self.instance.platform_id, name=self.instance.name, active=True, **binding)
            if other := same.exclude(pk=self.instance.pk).first():
                raise forms.ValidationError(f"Version {other.version} is in use. Take it out of use first.")
        return cleaned
