"""Vehicles in the admin: who is in, who waits for a decision, and the page of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from common.display import age, count, pill, visible
from common.errors import ArgusError
from common.lookups import BoundedLookups
from events.actors import user_actor
from events.models import EventType
from events.record import record_act
from vehicles import enrolment
from vehicles.admin.parts import clock_words, shown_once, vehicle_state
from vehicles.forms import VehicleForm
from vehicles.models import CLOCK_OFF_MS, VEHICLE_SCOPES, Enrolment, EnrolmentState, Vehicle, VehicleState
from vehicles.tokens import make_token
from vehicles.vin import vin_warning

BATCHES_SHOWN = 20
ENROLMENTS_SHOWN = 10
LONGEST_LABEL = 100
MOST_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Decision:
    """What can be decided about vehicles: the question, what it means, and what is said when it is done."""

    name: str
    label: str
    explanation: str
    run: Callable[..., Vehicle]
    done: str
    danger: bool = False


DECISIONS = {
    decision.name: decision
    for decision in (
        Decision(
            "accept",
            "Accept",
            "Each may fetch its token and upload. Tokens that a vehicle had before are revoked.",
            enrolment.accept,
            "accepted",
        ),
        Decision(
            "reject",
            "Reject",
            "They get no token, and cannot enrol again until somebody accepts them. A vehicle that is in already stays in.",
            enrolment.reject,
            "rejected",
            danger=True,
        ),
        Decision(
            "retire",
            "Retire",
            "Their tokens and certificates are refused from now on, and what they send at this moment ends. Their batches stay.",
            enrolment.retire,
            "retired",
            danger=True,
        ),
        Decision("restore", "Restore", "Tokens that were live when they were retired work again.", enrolment.restore, "restored"),
    )
}


def waits() -> Exists:
    """Whether a vehicle has an enrolment that nobody has decided."""
    return Exists(Enrolment.objects.filter(vehicle=OuterRef("pk"), state=EnrolmentState.PENDING))


def waiting_vehicles(limit: int) -> tuple[int, list[Enrolment]]:
    """Enrolments that nobody has decided: how many, and those that wait longest. Two queries."""
    waiting = Enrolment.objects.filter(state=EnrolmentState.PENDING)
    return waiting.count(), list(waiting.select_related("vehicle").order_by("created_at")[:limit])


class StateFilter(admin.SimpleListFilter):
    """One state, or everything that waits for a decision."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The work first."""
        return [("waiting", "Waits for a decision"), *((state.value, state.label) for state in VehicleState if state != "pending")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Vehicle]) -> QuerySet[Vehicle]:
        """Unknown values choose nothing."""
        value = self.value()
        if value is None:
            return queryset
        if value == "waiting":
            return queryset.filter(Q(state=VehicleState.PENDING) | Q(waits()))
        return queryset.filter(state=value) if value in VehicleState.values else queryset.none()


class ClockFilter(admin.SimpleListFilter):
    """Vehicles whose clock is more than a minute off."""

    title = "clock"
    parameter_name = "clock"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """One choice."""
        return [("off", "More than a minute off")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Vehicle]) -> QuerySet[Vehicle]:
        """Ahead or behind."""
        if self.value() is None:
            return queryset
        off = Q(clock_offset_ms__gt=CLOCK_OFF_MS) | Q(clock_offset_ms__lt=-CLOCK_OFF_MS)
        return queryset.filter(off) if self.value() == "off" else queryset.none()


@admin.register(Vehicle)
class VehicleAdmin(BoundedLookups):
    """A vehicle with its way in, its tokens and its batches."""

    form = VehicleForm
    list_display = ("name_column", "vin", "state_column", "platform", "fleet", "contact_column", "clock_column")
    list_filter = (StateFilter, "platform", "fleet", ClockFilter)
    list_select_related = ("platform", "fleet")
    list_per_page = 100
    search_fields = ("vin", "name")
    search_help_text = "Part of a VIN or name"
    show_full_result_count = False
    fields = ("vin", "name", "platform", "fleet", "certificate_sha256")
    change_form_template = "admin/vehicles/vehicle/page.html"
    change_list_template = "admin/vehicles/vehicle/change_list.html"
    actions = ("accept_vehicles", "reject_vehicles", "retire_vehicles", "restore_vehicles")

    def get_fields(self, request: HttpRequest, obj: Vehicle | None = None) -> Any:
        """The certificate only where a proxy checks them, or where one is set."""
        shown = bool(settings.ARGUS_MTLS_HEADER) or (obj is not None and obj.certificate_sha256 is not None)
        return [name for name in self.fields or () if shown or name != "certificate_sha256"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Vehicle]:
        """With whether an enrolment waits."""
        return super().get_queryset(request).annotate(waits=waits())

    def has_delete_permission(self, request: HttpRequest, obj: Vehicle | None = None) -> bool:
        """Only superusers, and only vehicles without batches (the database protects the others)."""
        return bool(request.user.is_superuser)

    def has_accept_permission(self, request: HttpRequest) -> bool:
        """May decide about vehicles."""
        return bool(request.user.has_perm("vehicles.accept_vehicle"))

    @admin.display(description="Vehicle", ordering="name")
    def name_column(self, vehicle: Vehicle) -> str:
        """Name, or the VIN's tail."""
        return visible(vehicle)

    @admin.display(description="State", ordering="state")
    def state_column(self, vehicle: Any) -> SafeString:
        """Pill, and another one for a vehicle that is in and has enrolled again."""
        if vehicle.waits and vehicle.state != VehicleState.PENDING:
            return format_html("{} {}", vehicle_state(vehicle), pill("enrolled again", "warning"))
        return vehicle_state(vehicle)

    @admin.display(description="Last contact", ordering="last_contact_at")
    def contact_column(self, vehicle: Vehicle) -> str:
        """How long ago."""
        return f"{age(vehicle.last_contact_at)} ago" if vehicle.last_contact_at else "never"

    @admin.display(description="Clock", ordering="clock_offset_ms")
    def clock_column(self, vehicle: Vehicle) -> SafeString | str:
        """How far it is off."""
        return clock_words(vehicle)

    def save_model(self, request: HttpRequest, obj: Vehicle, form: Any, change: bool) -> None:
        """A wrong check digit is said, not refused: only North America prescribes it. Another certificate is an event."""
        if change:
            obj.save(update_fields=form.changed_data)  # its state and its contacts may have changed since it was read
        else:
            obj.save()
        if "certificate_sha256" in form.changed_data:
            told = {"vehicle_id": str(obj.pk), "certificate_sha256": obj.certificate_sha256}
            record_act(EventType.CERTIFICATE_CHANGED, told, actor=user_actor(request.user))
        if warning := vin_warning(obj.vin):
            messages.warning(request, warning)

    # -- decisions -----------------------------------------------------------------------------------------------------

    @admin.action(description="Accept…", permissions=["accept"])
    def accept_vehicles(self, request: HttpRequest, chosen: QuerySet[Vehicle]) -> HttpResponse | None:
        """Let them in."""
        return self._decide(request, chosen, "accept")

    @admin.action(description="Reject…", permissions=["accept"])
    def reject_vehicles(self, request: HttpRequest, chosen: QuerySet[Vehicle]) -> HttpResponse | None:
        """Turn them away."""
        return self._decide(request, chosen, "reject")

    @admin.action(description="Retire…", permissions=["accept"])
    def retire_vehicles(self, request: HttpRequest, chosen: QuerySet[Vehicle]) -> HttpResponse | None:
        """They record no more."""
        return self._decide(request, chosen, "retire")

    @admin.action(description="Restore…", permissions=["accept"])
    def restore_vehicles(self, request: HttpRequest, chosen: QuerySet[Vehicle]) -> HttpResponse | None:
        """They record again."""
        return self._decide(request, chosen, "restore")

    def _decide(self, request: HttpRequest, chosen: QuerySet[Vehicle], name: str) -> HttpResponse | None:
        """Ask first; then decide about each as it was shown, and say what was not possible."""
        decision = DECISIONS[name]
        if "confirmed" in request.POST:
            self._run(request, decision)
            return None
        possible = list(_possible(chosen, name).select_related("platform", "fleet").order_by("vin")[: MOST_AT_ONCE + 1])
        if len(possible) > MOST_AT_ONCE:
            messages.error(request, f"Choose at most {count(MOST_AT_ONCE)} vehicles at once.")
            return None
        if not possible:
            messages.warning(request, f"None of the chosen vehicles can be {decision.done}.")
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": f"{decision.label} vehicles",
            "decision": decision,
            "rows": _described(possible, name),
            "left_out": chosen.count() - len(possible),
            "opts": self.opts,
            "action": f"{name}_vehicles",
        }
        return TemplateResponse(request, "admin/vehicles/vehicle/confirm.html", context)

    def _run(self, request: HttpRequest, decision: Decision) -> None:
        done, problems = 0, []
        for text in request.POST.getlist(ACTION_CHECKBOX_NAME)[:MOST_AT_ONCE]:
            seen = request.POST.get(f"seen-{text}", "")
            try:
                given = {"seen": UUID(seen)} if seen and decision.name in {"accept", "reject"} else {}
                decision.run(UUID(text), actor=user_actor(request.user), **given)
                done += 1
            except ValueError:
                problems.append(f"{visible(text[:40])}: no such vehicle.")
            except ArgusError as error:
                problems.append(f"{visible(Vehicle.objects.filter(pk=text).first() or text)}: {error.advice}")
        if done:
            messages.success(request, f"{count(done)} vehicle{'' if done == 1 else 's'} {decision.done}.")
        for problem in problems[:5]:
            messages.warning(request, problem)

    # -- the page ------------------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With its way in, its tokens and the newest batches. Batches are reached through the relation: imports go down."""
        vehicle = self.get_object(request, object_id)
        more: dict[str, Any] = {}
        if isinstance(vehicle, Vehicle):
            batches: Any = (
                vehicle.batches.order_by("-created_at", "-pk").defer("manifest", "software", "clock")
                if request.user.has_perm("batches.view_batch")
                else None
            )
            enrolments = list(vehicle.enrolments.select_related("token")[:ENROLMENTS_SHOWN])
            waiting = [each for each in enrolments if each.state == EnrolmentState.PENDING]
            more = {
                "vehicle": vehicle,
                "vin_warning": vin_warning(vehicle.vin),
                "batches": list(batches[:BATCHES_SHOWN]) if batches is not None else None,
                "tokens": list(vehicle.tokens.all()) if request.user.has_perm("vehicles.view_apitoken") else None,
                "may_make": request.user.has_perm("vehicles.add_apitoken") and vehicle.state == VehicleState.ACTIVE,
                "may_revoke": request.user.has_perm("vehicles.change_apitoken"),
                "enrolments": enrolments,
                "waiting": waiting[0] if waiting else None,
                "addresses": len({each.address for each in enrolments}),
                "decisions": [
                    each for each in DECISIONS.values() if self.has_accept_permission(request) and _fits(vehicle, each.name, waiting)
                ],
            }
        return super().change_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """Making a token."""
        return [
            path("<uuid:vehicle_id>/token/", self.admin_site.admin_view(self.token_view), name="vehicles_vehicle_token"),
            *super().get_urls(),
        ]

    def token_view(self, request: HttpRequest, vehicle_id: UUID) -> HttpResponse:
        """Make a token of this vehicle and show it, this once."""
        return require_POST(self._token)(request, vehicle_id)

    def _token(self, request: HttpRequest, vehicle_id: UUID) -> HttpResponse:
        if not request.user.has_perm("vehicles.add_apitoken"):
            raise PermissionDenied
        vehicle = Vehicle.objects.filter(pk=vehicle_id).first()
        if vehicle is None:
            raise Http404
        try:
            token, text = make_token(
                vehicle, VEHICLE_SCOPES, label=request.POST.get("label", "")[:LONGEST_LABEL], actor=user_actor(request.user)
            )
        except ArgusError as error:
            messages.error(request, error.advice)
            return HttpResponseRedirect(reverse("admin:vehicles_vehicle_change", args=[vehicle_id]))
        return shown_once(self, request, token, text, vehicle)


def _possible(chosen: QuerySet[Vehicle], name: str) -> QuerySet[Vehicle]:
    """Those of the chosen vehicles about which this can be decided."""
    return {
        "accept": chosen.filter(Q(state__in=[VehicleState.PENDING, VehicleState.REJECTED]) | Q(waits())),
        "reject": chosen.filter(Q(state=VehicleState.PENDING) | Q(waits())),
        "retire": chosen.filter(state=VehicleState.ACTIVE),
        "restore": chosen.filter(state=VehicleState.RETIRED),
    }[name]


def _fits(vehicle: Vehicle, name: str, waiting: list[Enrolment]) -> bool:
    """The same for one vehicle."""
    return {
        "accept": bool(waiting) or vehicle.state in {VehicleState.PENDING, VehicleState.REJECTED},
        "reject": bool(waiting) or vehicle.state == VehicleState.PENDING,
        "retire": vehicle.state == VehicleState.ACTIVE,
        "restore": vehicle.state == VehicleState.RETIRED,
    }[name]


def _described(vehicles: list[Vehicle], name: str) -> list[dict[str, Any]]:
    """Each with the enrolment that is decided, and how often and from how many addresses it was asked for. One query."""
    asked: dict[UUID, list[Enrolment]] = {}
    if name in {"accept", "reject"}:
        for each in Enrolment.objects.filter(vehicle__in=vehicles).select_related("token"):
            asked.setdefault(each.vehicle_id, []).append(each)
    rows = []
    for vehicle in vehicles:
        enrolments = asked.get(vehicle.pk, [])
        open_states = {EnrolmentState.PENDING, *([EnrolmentState.REJECTED] if vehicle.state == VehicleState.REJECTED else [])}
        rows.append(
            {
                "vehicle": vehicle,
                "seen": next((each for each in enrolments if each.state in open_states), None),
                "asked": len(enrolments),
                "addresses": len({each.address for each in enrolments}),
            }
        )
    return rows
