"""The shapes of requests, checked, and of answers, described."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from batches.api.body import KIND
from batches.models import BatchState, Severity
from common.errors import BadFilename, BatchFull
from common.json_api import LISTED_ERRORS, Problem, StrictSerializer
from diagnosis.models import FindingSeverity
from files.models import COMING, FileState
from files.names import clean_name

SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST = 2**63 - 1
MOST_URGENT = 32767
MANIFEST_FIELDS = {"name", "size", "sha256", "kind", "priority"}
SOFTWARE_ENTRIES, SOFTWARE_KEY, SOFTWARE_VALUE = 100, 64, 200


# -- requests ----------------------------------------------------------------------------------------------------------


class Clock(StrictSerializer):
    """What the vehicle knows about its clock while it recorded."""

    source = serializers.CharField(max_length=64, required=False, help_text="for example gps, ntp, rtc")  # type: ignore[assignment]
    offset_ms = serializers.FloatField(required=False, min_value=-1e15, max_value=1e15, help_text="how far it is ahead of UTC")
    synced = serializers.BooleanField(required=False)


@extend_schema_field(
    {"type": "object", "additionalProperties": {"type": "string", "maxLength": SOFTWARE_VALUE}, "maxProperties": SOFTWARE_ENTRIES}
)
class Software(serializers.Field):
    """Names and versions: a flat object of strings."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """The object, with every name and version checked as text."""
        if not isinstance(data, dict) or len(data) > SOFTWARE_ENTRIES:
            raise ValidationError(f"An object with at most {SOFTWARE_ENTRIES} names and versions is needed.")
        name = serializers.CharField(max_length=SOFTWARE_KEY)
        version = serializers.CharField(max_length=SOFTWARE_VALUE, allow_blank=True)
        return {name.run_validation(key): version.run_validation(value) for key, value in data.items()}

    def to_representation(self, value: dict[str, str]) -> dict[str, str]:
        """As it is."""
        return value


class ManifestEntry(serializers.Serializer):
    """One file that must arrive."""

    name = serializers.CharField(max_length=255)
    size = serializers.IntegerField(min_value=0, max_value=LARGEST)
    sha256 = serializers.RegexField(r"^[0-9a-fA-F]{64}$", required=False)
    kind = serializers.RegexField(KIND.pattern, required=False, help_text="what the file is, up to 32 letters, digits, '.', '_' or '-'")
    priority = serializers.IntegerField(
        min_value=0, max_value=MOST_URGENT, required=False, help_text="the highest is to be sent first; 0 if not given"
    )


@extend_schema_field(ManifestEntry(many=True))
class Manifest(serializers.Field):
    """The list of all files; 50,000 entries are checked by hand in a fraction of the time that nested serializers take."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        """The entries, names normalised and digests in lower case."""
        if not isinstance(data, list):
            raise ValidationError("A list is needed.")
        if len(data) > settings.ARGUS_MAX_FILES_PER_BATCH:
            raise BatchFull(f"A batch may have {settings.ARGUS_MAX_FILES_PER_BATCH} files.")
        entries, wrong = [], {}
        for place, entry in enumerate(data):
            try:
                entries.append(_manifest_entry(entry))
            except ValidationError as error:
                wrong[str(place)] = error.detail
                if len(wrong) == LISTED_ERRORS:
                    break
        if wrong:
            raise ValidationError(wrong)
        return entries

    def to_representation(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As it is."""
        return value


def _manifest_entry(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValidationError("An object is needed.")
    if unknown := entry.keys() - MANIFEST_FIELDS:
        raise ValidationError(
            {str(name)[:100]: [ErrorDetail("There is no such field.", code="unknown_field")] for name in sorted(unknown)[:3]}
        )
    name, size, sha256 = entry.get("name"), entry.get("size"), entry.get("sha256") or ""
    if not isinstance(name, str):
        raise ValidationError({"name": "A file name is needed."})
    try:
        checked: dict[str, Any] = {"name": clean_name(name), "size": size}
    except BadFilename as error:
        raise ValidationError({"name": error.detail}) from error
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LARGEST:
        raise ValidationError({"size": "A number of bytes is needed."})
    if sha256:
        if not isinstance(sha256, str) or not SHA256.fullmatch(sha256.lower()):
            raise ValidationError({"sha256": "64 hexadecimal digits are needed."})
        checked["sha256"] = sha256.lower()
    if kind := entry.get("kind", ""):
        if not isinstance(kind, str) or not KIND.fullmatch(kind):
            raise ValidationError({"kind": "Up to 32 letters, digits, '.', '_' or '-' are needed."})
        checked["kind"] = kind
    if priority := entry.get("priority", 0):
        if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= MOST_URGENT:
            raise ValidationError({"priority": f"A whole number from 0 to {MOST_URGENT} is needed."})
        checked["priority"] = priority
    return checked


class NewBatch(StrictSerializer):
    """A batch that a vehicle opens; it belongs to the vehicle of the token."""

    recorded_from = serializers.DateTimeField(required=False)
    recorded_to = serializers.DateTimeField(required=False)
    clock = Clock(required=False)
    software = Software(required=False)
    reason = serializers.CharField(max_length=200, required=False, allow_blank=True)
    expected_workers = serializers.IntegerField(
        min_value=1, max_value=2**31 - 1, required=False, help_text="of the old API; kept for the record"
    )

    files = Manifest(required=False, help_text="what will be sent; each becomes an upload with an address of its own")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The fields as the model names them."""
        begin, end = attrs.pop("recorded_from", None), attrs.pop("recorded_to", None)
        if begin and end and begin > end:
            raise ValidationError({"recorded_to": "It ends before it begins."})
        return {**attrs, "declared_from": begin, "declared_to": end}


class Completion(StrictSerializer):
    """What complete may say: the manifest, and the old API's number of workers."""

    files = Manifest(required=False)
    expected_workers = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False)


class Abandonment(StrictSerializer):
    """Why the files will not come."""

    reason = serializers.CharField(max_length=200, required=False, allow_blank=True)


class ListQuery(StrictSerializer):
    """What the list can be narrowed to."""

    status = serializers.ChoiceField(choices=BatchState.choices, required=False)
    vin = serializers.CharField(max_length=17, required=False, help_text="the whole VIN")
    created_after = serializers.DateTimeField(required=False, help_text="at or after")
    created_before = serializers.DateTimeField(required=False, help_text="before")
    cursor = serializers.CharField(max_length=500, required=False, help_text="out of `next` or `previous`")
    page_size = serializers.IntegerField(min_value=1, max_value=200, required=False)


def is_position(text: str) -> bool:
    """Is this what a cursor may hold: the time of a batch?"""
    try:
        return parse_datetime(text) is not None
    except ValueError:
        return False


# -- answers -----------------------------------------------------------------------------------------------------------


class VehicleName(serializers.Serializer):
    """Whose it is."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)


class BatchError(serializers.Serializer):
    """Why a batch failed."""

    code = serializers.CharField()
    detail = serializers.CharField()


class FileError(BatchError):
    """Why a file could not be read."""

    offset = serializers.IntegerField(allow_null=True, help_text="byte where reading went wrong")


class FileShape(serializers.Serializer):
    """A stored file and what came of it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField(allow_blank=True)
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    state = serializers.ChoiceField(choices=FileState.choices)
    format = serializers.CharField(allow_null=True)
    error = FileError(allow_null=True)
    partial = serializers.BooleanField(help_text="some byte ranges could not be read")  # type: ignore[assignment]
    duplicate_of = serializers.UUIDField(
        allow_null=True, help_text="the file of the same vehicle that has the same SHA-256 and came before"
    )


class UploadShape(serializers.Serializer):
    """A file that was announced or has begun to come, until its last byte is verified; then it stands among the files under the same id."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField(allow_blank=True)
    priority = serializers.IntegerField()
    size = serializers.IntegerField(allow_null=True)
    sha256 = serializers.CharField(allow_null=True)
    offset = serializers.IntegerField(help_text="bytes that are safely here; the next to send")
    state = serializers.ChoiceField(choices=[(str(state), state.label) for state in COMING])
    error = serializers.CharField(allow_null=True, help_text="code of the error that made all bytes necessary again")
    url = serializers.URLField(help_text="where tus goes on")


class BatchShape(serializers.Serializer):
    """A batch without its files."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=BatchState.choices)
    vehicle = VehicleName()
    vin = serializers.CharField(required=False, help_text="for those who may see it")
    created_at = serializers.DateTimeField()
    uploaded_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    recorded_from = serializers.DateTimeField(allow_null=True)
    recorded_to = serializers.DateTimeField(allow_null=True)
    clock = Clock()
    software = Software()
    reason = serializers.CharField(allow_blank=True)
    total_files = serializers.IntegerField()
    processed_files = serializers.IntegerField()
    failed_files = serializers.IntegerField()
    percent = serializers.IntegerField()
    total_bytes = serializers.IntegerField()
    worst_severity = serializers.ChoiceField(choices=Severity.choices, allow_null=True)
    failed_stage = serializers.CharField(allow_null=True)
    error = BatchError(allow_null=True)
    expected_workers = serializers.IntegerField(allow_null=True)
    server_time = serializers.DateTimeField()


class BatchWithFiles(BatchShape):
    """A batch with its current files, and what is still to come, the highest priority first."""

    files = FileShape(many=True)
    uploads = UploadShape(many=True)


class BatchPage(serializers.Serializer):
    """A page of batches, the newest first."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = BatchShape(many=True)


class Progress(serializers.Serializer):
    """How far a batch is."""

    status = serializers.ChoiceField(choices=BatchState.choices)
    total_files = serializers.IntegerField()
    processed_files = serializers.IntegerField()
    failed_files = serializers.IntegerField()
    expected_worker_count = serializers.IntegerField(help_text="parse tasks of this run")
    completed_worker_count = serializers.IntegerField(help_text="parse tasks of this run that have settled")
    percent = serializers.IntegerField()
    bytes_total = serializers.IntegerField()
    bytes_done = serializers.IntegerField()


class FindingShape(serializers.Serializer):
    """What is wrong, and where it can be seen."""

    id = serializers.UUIDField()
    rule = serializers.CharField()
    rule_version = serializers.CharField()
    severity = serializers.ChoiceField(choices=FindingSeverity.choices)
    code = serializers.CharField(allow_blank=True)
    sentence = serializers.CharField()
    action = serializers.CharField(allow_blank=True)
    file_id = serializers.UUIDField(allow_null=True)
    stream = serializers.CharField(allow_blank=True)
    signal = serializers.CharField(allow_blank=True)
    from_ns = serializers.IntegerField(allow_null=True)
    to_ns = serializers.IntegerField(allow_null=True)
    count = serializers.IntegerField()
    details = serializers.DictField()


class Findings(serializers.Serializer):
    """The findings of a batch, the worst first; at most 1,000 are listed."""

    status = serializers.ChoiceField(choices=BatchState.choices)
    worst_severity = serializers.ChoiceField(choices=Severity.choices, allow_null=True)
    count = serializers.IntegerField()
    truncated = serializers.BooleanField()
    results = FindingShape(many=True)


class FilesPendingProblem(Problem):
    """409 of complete: up to 100 names of each kind, and how many there are."""

    missing = serializers.ListField(child=serializers.CharField(), required=False, help_text="announced, and nothing of it has come")
    short = serializers.ListField(child=serializers.CharField(), required=False, help_text="stored with another length than announced")
    corrupt = serializers.ListField(child=serializers.CharField(), required=False, help_text="came with another digest than announced")
    unexpected = serializers.ListField(child=serializers.CharField(), required=False, help_text="stored and not announced")
    uploading = serializers.ListField(child=serializers.CharField(), required=False, help_text="begun and not ended")
    verifying = serializers.ListField(child=serializers.CharField(), required=False, help_text="all bytes are here and are being verified")
    counts = serializers.DictField(child=serializers.IntegerField(), required=False)
