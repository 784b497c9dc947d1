"""Fleet, platform, vehicle, its tokens and its way in, and signal databases."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Upper
from django.utils import timezone
from django_fsm import FSMField, transition

from common.clock import EPOCH
from vehicles.software import within
from vehicles.vin import validate_vin


class FailurePolicy(models.TextChoices):
    """What a batch does when some of its files cannot be read."""

    PARTIAL = "partial", "go on with the files that could be read"
    STRICT = "strict", "fail the batch"


class Fleet(models.Model):
    """Vehicles that are run together."""

    name = models.CharField(max_length=100, unique=True)
    failure_policy = models.CharField(
        max_length=8, choices=FailurePolicy.choices, default=FailurePolicy.PARTIAL, help_text="when some files of a batch cannot be read"
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=Q(failure_policy__in=FailurePolicy.values), name="fleet_policy_known")]

    def __str__(self) -> str:
        return self.name


class Platform(models.Model):
    """A vehicle type: all its vehicles speak the same signal databases."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class VehicleState(models.TextChoices):
    """The life of a vehicle; only an active one may call."""

    PENDING = "pending"
    ACTIVE = "active"
    REJECTED = "rejected"
    RETIRED = "retired"


CLOCK_OFF_MS = 60_000


class Vehicle(models.Model):
    """A vehicle that records. The VIN stands here (before its first contact in Preapproval); everything else refers to the id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = FSMField(choices=VehicleState.choices, default=VehicleState.ACTIVE, protected=True, editable=False)
    vin = models.CharField("VIN", max_length=17, unique=True, validators=[validate_vin])
    name = models.CharField(max_length=100, blank=True, help_text="what people call it")
    fleet = models.ForeignKey(Fleet, null=True, blank=True, on_delete=models.PROTECT, related_name="vehicles")
    platform = models.ForeignKey(Platform, null=True, blank=True, on_delete=models.PROTECT, related_name="vehicles")
    certificate_sha256 = models.CharField(
        "client certificate",
        max_length=64,
        null=True,
        blank=True,
        unique=True,
        help_text="SHA-256 fingerprint, where a proxy checks client certificates; empty for none",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_contact_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Of the vehicle's clock against ours, and when it was told: see vehicles.contact.
    clock_offset_ms = models.BigIntegerField(null=True, blank=True, editable=False)
    clock_measured_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["name", "vin"]
        indexes = [models.Index(fields=["created_at"], condition=Q(state=VehicleState.PENDING), name="vehicle_waiting")]
        constraints = [
            models.CheckConstraint(condition=Q(vin=Upper("vin")) & ~Q(vin=""), name="vehicle_vin_upper_case"),
            models.CheckConstraint(condition=Q(state__in=VehicleState.values), name="vehicle_state_known"),
            models.CheckConstraint(condition=~Q(certificate_sha256=""), name="vehicle_certificate_not_empty"),
        ]
        permissions = [("accept_vehicle", "Can accept, reject, retire and restore vehicles")]

    def __str__(self) -> str:
        return self.name or f"…{self.vin_tail}"

    @property
    def vin_tail(self) -> str:
        """The last six characters: enough to recognise a vehicle in a list."""
        return self.vin[-6:]

    @property
    def clock_is_off(self) -> bool:
        """The vehicle's clock was more than a minute ahead or behind when it last told its time."""
        return self.clock_offset_ms is not None and abs(self.clock_offset_ms) > CLOCK_OFF_MS

    @property
    def failure_policy(self) -> str:
        """The fleet's policy, or the installation's for a vehicle without fleet."""
        return self.fleet.failure_policy if self.fleet else settings.ARGUS_FAILURE_POLICY

    @transition(state, source=[VehicleState.PENDING, VehicleState.REJECTED], target=VehicleState.ACTIVE)
    def accept(self) -> None:
        """Somebody, or a pre-approval, lets it in."""

    @transition(state, source=VehicleState.PENDING, target=VehicleState.REJECTED)
    def reject(self) -> None:
        """Somebody does not know it."""

    @transition(state, source=VehicleState.ACTIVE, target=VehicleState.RETIRED)
    def retire(self) -> None:
        """It records no more; its tokens and its certificate are refused, its batches stay."""

    @transition(state, source=VehicleState.RETIRED, target=VehicleState.ACTIVE)
    def restore(self) -> None:
        """It records again; tokens that were live when it was retired work again."""


class Scope(models.TextChoices):
    """What a token may do; `batch:create` to `batch:read-own` are the vehicle's, the others an integration's."""

    BATCH_CREATE = "batch:create"
    FILE_PUT = "file:put"
    BATCH_COMPLETE = "batch:complete"
    BATCH_READ_OWN = "batch:read-own"
    BATCH_READ = "batch:read"
    BATCH_DELETE = "batch:delete"


VEHICLE_SCOPES = (Scope.BATCH_CREATE, Scope.FILE_PUT, Scope.BATCH_COMPLETE, Scope.BATCH_READ_OWN)
INTEGRATION_SCOPES = (Scope.BATCH_READ, Scope.BATCH_DELETE)
LIVE_TOKENS_PER_VEHICLE = 2


class ApiToken(models.Model):
    """A key to the API: of one vehicle, or of an integration when `vehicle` is empty. The secret is kept only as SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vehicle = models.ForeignKey(Vehicle, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    # Two live tokens per vehicle, so that one can be rotated while the other works: each takes a slot until it is revoked.
    slot = models.PositiveSmallIntegerField(null=True, editable=False)
    label = models.CharField(max_length=100, blank=True, help_text="what or who uses it")
    key_id = models.CharField(max_length=12, unique=True, editable=False)
    secret_sha256 = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaces = models.ForeignKey(
        "self", null=True, editable=False, on_delete=models.SET_NULL, related_name="replaced_by", help_text="made by rotating this one"
    )

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"
        constraints = [
            models.UniqueConstraint(fields=["vehicle", "slot"], condition=Q(revoked_at__isnull=True), name="token_two_live_per_vehicle"),
            models.CheckConstraint(
                condition=Q(vehicle__isnull=True, slot__isnull=True) | Q(vehicle__isnull=False, slot__in=[1, 2]),
                name="token_slot_of_vehicle",
            ),
        ]

    def __str__(self) -> str:
        return f"argus_v1_{self.key_id}_…"


class EnrolmentToken(models.Model):
    """Lets vehicles announce themselves. It opens nothing else, and one may be in the image of a whole fleet."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    label = models.CharField(max_length=100, help_text="where it is used: a workshop, an image, a delivery")
    key_id = models.CharField(max_length=12, unique=True, editable=False)
    secret_sha256 = models.CharField(max_length=64, editable=False)
    fleet = models.ForeignKey(
        Fleet, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="of the vehicles that come with it"
    )
    platform = models.ForeignKey(
        Platform, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="of the vehicles that come with it"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    max_uses = models.PositiveIntegerField(null=True, blank=True, help_text="how many vehicles may come with it; empty for any number")
    uses = models.PositiveIntegerField(default=0, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(max_uses__isnull=True) | Q(uses__lte=models.F("max_uses")), name="enrolment_uses_within_max")
        ]

    def __str__(self) -> str:
        return f"argus_enrol_{self.key_id}_…"

    @property
    def live(self) -> bool:
        """Neither revoked nor expired nor used up."""
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return not (self.revoked_at or expired or (self.max_uses is not None and self.uses >= self.max_uses))


class EnrolmentState(models.TextChoices):
    """What came of an enrolment."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded", "superseded by a later one"


class Enrolment(models.Model):
    """A vehicle, or somebody who says to be it, has asked to be let in. What it says of itself is not verified."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vehicle = models.ForeignKey(Vehicle, on_delete=models.CASCADE, related_name="enrolments")
    token = models.ForeignKey(EnrolmentToken, on_delete=models.PROTECT, related_name="enrolments")
    state = models.CharField(max_length=10, choices=EnrolmentState.choices, default=EnrolmentState.PENDING)
    name = models.CharField(max_length=100, blank=True)
    software = models.JSONField(default=dict)
    address = models.CharField(max_length=45, blank=True, help_text="where it came from")
    claim_sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=150, blank=True)
    # The vehicle's token, and when the first one was handed out.
    issued = models.ForeignKey(ApiToken, null=True, on_delete=models.SET_NULL, related_name="+")
    claimed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["created_at"], condition=Q(state=EnrolmentState.PENDING), name="enrolment_waiting")]
        constraints = [models.CheckConstraint(condition=Q(state__in=EnrolmentState.values), name="enrolment_state_known")]

    def __str__(self) -> str:
        return f"enrolment {str(self.pk)[:8]}"


class Preapproval(models.Model):
    """A VIN that becomes an active vehicle when it enrols; the row ends then."""

    vin = models.CharField("VIN", max_length=17, unique=True, validators=[validate_vin])
    name = models.CharField(max_length=100, blank=True, help_text="what people call it")
    fleet = models.ForeignKey(Fleet, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    platform = models.ForeignKey(Platform, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    approved_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["vin"]
        verbose_name = "pre-approved VIN"
        constraints = [models.CheckConstraint(condition=Q(vin=Upper("vin")) & ~Q(vin=""), name="preapproval_vin_upper_case")]

    def __str__(self) -> str:
        return self.name or f"…{self.vin[-6:]}"


class Counter(models.Model):
    """How often something has happened in the running window of time: see vehicles.counting."""

    subject = models.CharField(max_length=100, unique=True)
    since = models.DateTimeField(default=EPOCH, db_index=True)
    count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.subject}: {self.count}"


class SignalDatabase(models.Model):
    """One version of a signal database for a platform; immutable.

    It may be bound to a bus and to an interval of the versions of a software component. A newer upload of the same name and binding
    retires it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    platform = models.ForeignKey(Platform, on_delete=models.PROTECT, related_name="signal_databases")
    name = models.CharField(max_length=100, help_text="for example: powertrain")
    version = models.PositiveIntegerField(editable=False)
    channel = models.CharField(max_length=32, blank=True, help_text="only for this bus (can0, 1, ...); empty for every bus")
    software = models.CharField(
        max_length=100, blank=True, help_text="only for batches that name this software component; empty for every batch"
    )
    software_from = models.CharField(max_length=50, blank=True, help_text="from this version of the component on; empty for every one")
    software_before = models.CharField(max_length=50, blank=True, help_text="for versions before this one; empty for every one")
    active = models.BooleanField(default=True, help_text="used for parsing from now on")
    kind = models.CharField(max_length=8, default="dbc", editable=False)
    content = models.BinaryField(editable=False)
    # The same database as the parser reads it: loading a DBC takes seconds, loading this takes milliseconds.
    compiled = models.BinaryField(editable=False)
    # The ids of its messages, by which it is recognised in a log: [id, extended, bytes, by PGN] each.
    signature = models.JSONField(default=list, editable=False)
    sha256 = models.CharField(max_length=64, editable=False)
    message_count = models.PositiveIntegerField(editable=False)
    signal_count = models.PositiveIntegerField(editable=False)
    warnings = models.JSONField(default=list, editable=False)
    uploaded_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["platform", "name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["platform", "name", "version"], name="database_version_once"),
            models.UniqueConstraint(
                fields=["platform", "name", "software", "software_from", "software_before"],
                condition=Q(active=True),
                name="database_one_active_per_binding",
            ),
            models.CheckConstraint(
                condition=~Q(software="") | Q(software_from="", software_before=""), name="database_interval_of_a_component"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    @property
    def binding(self) -> str:
        """The software it is for, in words; empty for every one."""
        words = [self.software]
        if self.software_from:
            words.append(f"from {self.software_from}")
        if self.software_before:
            words.append(f"before {self.software_before}")
        return " ".join(words).strip()

    def fits(self, software: dict[str, Any]) -> bool:
        """Whether it is for a batch with this software (component -> version)."""
        if not self.software:
            return True
        version = software.get(self.software)
        return version is not None and within(str(version), self.software_from, self.software_before)
