"""Finding, what is wrong with a vehicle, and SignalLimit, what is not to be exceeded."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q


class FindingSeverity(models.TextChoices):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Finding(models.Model):
    """One thing a rule found in a batch, with the place where it can be seen."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.ForeignKey("batches.Batch", on_delete=models.CASCADE, related_name="findings", db_index=False)
    # The last File whose recording shows it; empty for what concerns the whole batch.
    file = models.ForeignKey("files.File", null=True, on_delete=models.SET_NULL, related_name="findings")
    rule = models.CharField(max_length=64)
    rule_version = models.CharField(max_length=16)
    severity = models.CharField(max_length=8, choices=FindingSeverity.choices)
    code = models.CharField(max_length=64, blank=True, help_text="fault code, where there is one")
    sentence = models.CharField(max_length=500)
    action = models.CharField(max_length=500, blank=True)
    stream = models.CharField(max_length=200, blank=True)
    signal = models.CharField(max_length=200, blank=True)
    from_ns = models.BigIntegerField(null=True)
    to_ns = models.BigIntegerField(null=True)
    count = models.PositiveIntegerField(default=1, help_text="how often it was seen")
    details = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["batch", "id"]
        indexes = [
            models.Index(fields=["batch", "severity"], name="finding_batch"),
            models.Index(fields=["rule", "code"], name="finding_rule_code"),
            # list, newest first; list of one severity
            models.Index(fields=["-created_at", "-id"], name="finding_newest"),
            models.Index(fields=["severity", "-created_at", "-id"], name="finding_severity_newest"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(severity__in=FindingSeverity.values), name="finding_severity_known"),
            models.CheckConstraint(
                condition=Q(from_ns__isnull=True) | Q(to_ns__isnull=True) | Q(to_ns__gte=models.F("from_ns")), name="finding_time_ordered"
            ),
        ]

    def __str__(self) -> str:
        return self.sentence


class SignalLimit(models.Model):
    """Bounds of a signal that may be left only for a moment; for one platform or for all."""

    platform = models.ForeignKey("vehicles.Platform", null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    signal = models.CharField(max_length=200, help_text="name of the signal, as in the signal database")
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    duration_s = models.FloatField("duration (s)", default=1.0, help_text="how long it must be outside before it counts")
    severity = models.CharField(max_length=8, choices=FindingSeverity.choices, default=FindingSeverity.WARNING)
    action = models.CharField(max_length=500, blank=True, help_text="what to do about it")

    class Meta:
        ordering = ["signal"]
        constraints = [
            models.UniqueConstraint(fields=["platform", "signal"], name="limit_once_per_platform"),
            models.UniqueConstraint(fields=["signal"], condition=Q(platform__isnull=True), name="limit_once_for_all_platforms"),
            models.CheckConstraint(condition=Q(low__isnull=False) | Q(high__isnull=False), name="limit_has_a_bound"),
            models.CheckConstraint(
                condition=Q(low__isnull=True) | Q(high__isnull=True) | Q(low__lt=models.F("high")), name="limit_low_below_high"
            ),
            models.CheckConstraint(condition=Q(duration_s__gte=0), name="limit_duration_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.signal}: {'' if self.low is None else self.low} … {'' if self.high is None else self.high}"


class KnownCode(models.Model):
    """What a fault code means, as the operator knows it: codes of makers, names of J1939 parameters. For one platform or for all."""

    platform = models.ForeignKey("vehicles.Platform", null=True, blank=True, on_delete=models.CASCADE, related_name="known_codes")
    code = models.CharField(max_length=32, help_text="P1234, U0100-87, SPN 110, SPN 110 FMI 0")
    text = models.CharField(max_length=200, help_text="what it means, in a few words")
    severity = models.CharField(
        max_length=8, choices=FindingSeverity.choices, blank=True, help_text="how bad it is; empty leaves it to the kind of the code"
    )
    action = models.CharField(max_length=500, blank=True, help_text="what to do about it")

    class Meta:
        ordering = ["code"]
        constraints = [
            models.UniqueConstraint(fields=["platform", "code"], name="known_code_once_per_platform"),
            models.UniqueConstraint(fields=["code"], condition=Q(platform__isnull=True), name="known_code_once_for_all_platforms"),
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"
