"""Forms of the vehicle pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone

from vehicles.models import INTEGRATION_SCOPES, Fleet, Platform, Preapproval, Scope, SignalDatabase, Vehicle
from vehicles.mtls import tidy_fingerprint
from vehicles.preapproval import MAX_BYTES as MAX_TABLE_BYTES
from vehicles.signal_databases import MAX_BYTES

SCOPE_WORDS = {Scope.BATCH_READ: "read batches of all vehicles", Scope.BATCH_DELETE: "delete batches"}


class TypedVin(forms.CharField):
    """A VIN as people type it: small letters and spaces do no harm, so its length and form are checked when it is tidy."""

    def __init__(self) -> None:
        super().__init__(label="VIN", max_length=40, widget=forms.TextInput(attrs={"class": "vTextField mono", "spellcheck": "false"}))
        self.validators = []


def tidy_vin(text: str) -> str:
    """Without spaces, in capitals."""
    return "".join(str(text).split()).upper()


class VehicleForm(forms.ModelForm):
    """A vehicle; the certificate only where a proxy checks them."""

    class Meta:
        model = Vehicle
        fields = ("vin", "name", "fleet", "platform", "certificate_sha256")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "vin" in self.fields:
            self.fields["vin"] = TypedVin()
        if "certificate_sha256" in self.fields:
            field = forms.CharField(
                label="Client certificate",
                max_length=120,
                required=False,
                help_text="SHA-256 fingerprint; empty for none",
                widget=forms.TextInput(attrs={"class": "vTextField mono", "spellcheck": "false"}),
            )
            self.fields["certificate_sha256"] = field
            field.disabled = not settings.ARGUS_MTLS_HEADER
            if field.disabled:
                field.help_text = "Counts only where a proxy checks client certificates, and none is set up (ARGUS_MTLS_HEADER)"

    def clean_vin(self) -> str:
        """As VINs are compared."""
        return tidy_vin(self.cleaned_data["vin"])

    def clean_certificate_sha256(self) -> str | None:
        """As fingerprints are compared."""
        text = self.cleaned_data["certificate_sha256"]
        if not text:
            return None
        digest = tidy_fingerprint(text)
        if digest is None:
            raise forms.ValidationError("A SHA-256 fingerprint has 64 hexadecimal digits; colons between them do no harm.")
        return digest


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


class EnrolmentTokenForm(forms.Form):
    """A token that vehicles announce themselves with."""

    label = forms.CharField(
        max_length=100,
        help_text="Where it is used: a workshop, an image, a delivery",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    fleet = forms.ModelChoiceField(Fleet.objects.all(), required=False, help_text="Of the vehicles that come with it")
    platform = forms.ModelChoiceField(Platform.objects.all(), required=False, help_text="Of the vehicles that come with it")
    expires_at = forms.DateTimeField(
        required=False,
        label="Ends (UTC)",
        help_text="After that nobody can come with it; empty for never",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "class": "vTextField"}),
    )
    max_uses = forms.IntegerField(
        required=False, min_value=1, max_value=1_000_000, label="At most", help_text="vehicles; empty for any number"
    )

    def clean_expires_at(self) -> Any:
        """In the future."""
        moment = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise forms.ValidationError("This is in the past.")
        return moment


class PreapprovalForm(forms.ModelForm):
    """One VIN that is expected."""

    vin = TypedVin()

    class Meta:
        model = Preapproval
        fields = ("vin", "name", "fleet", "platform")

    def clean_vin(self) -> str:
        """A vehicle that is there already needs no pre-approval."""
        vin = tidy_vin(self.cleaned_data["vin"])
        if Vehicle.objects.filter(vin=vin).exists():
            raise forms.ValidationError("There is a vehicle with this VIN already: decide on its page.")
        return vin


class VinTableForm(forms.Form):
    """A table of VINs."""

    file = forms.FileField(label="CSV file", help_text=f"At most {MAX_TABLE_BYTES >> 20} MiB")

    def clean_file(self) -> Any:
        """Refused before it is read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_TABLE_BYTES:
            raise forms.ValidationError(f"The file has {file.size} bytes; at most {MAX_TABLE_BYTES} are allowed.")
        return file
