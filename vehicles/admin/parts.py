"""What several vehicle pages show."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.display import NOTHING, age, duration, pill
from vehicles.models import ApiToken, EnrolmentToken, Vehicle, VehicleState

STATE_KINDS = {
    VehicleState.PENDING: "warning",
    VehicleState.ACTIVE: "ok",
    VehicleState.REJECTED: "error",
    VehicleState.RETIRED: "quiet",
}
STATE_WORDS = {VehicleState.PENDING: "waits for a decision"}


def link(name: str, text: object, *args: Any, query: str = "") -> SafeString:
    """A link to an admin page."""
    return format_html('<a href="{}{}">{}</a>', reverse(f"admin:{name}", args=args), query, text)


def token_state(token: ApiToken) -> SafeString:
    """Live, expired or revoked."""
    # A token that has expired gives up its slot by being revoked as of its end.
    if token.revoked_at and token.revoked_at != token.expires_at:
        return pill("revoked", "quiet")
    if token.expires_at and token.expires_at <= timezone.now():
        return pill("expired", "warning")
    return pill("live", "ok")


def shown_once(page: admin.ModelAdmin, request: HttpRequest, token: ApiToken, text: str, vehicle: Vehicle | None) -> HttpResponse:
    """The page with the secret: the answer to the POST itself, kept by nobody."""
    context = {
        **page.admin_site.each_context(request),
        "title": "The new token",
        "token": token,
        "text": text,
        "vehicle": vehicle,
        "opts": page.opts,
        "base": f"{request.scheme}://{request.get_host()}",
    }
    response = TemplateResponse(request, "admin/vehicles/apitoken/shown_once.html", context)
    response["Cache-Control"] = "no-store"
    return response


def vehicle_state(vehicle: Vehicle) -> SafeString:
    """Pill."""
    state = VehicleState(vehicle.state)
    return pill(STATE_WORDS.get(state, state.value), STATE_KINDS[state])


def enrolment_token_state(token: EnrolmentToken) -> SafeString:
    """Live, used up, expired or revoked."""
    if token.revoked_at:
        return pill("revoked", "quiet")
    if token.expires_at and token.expires_at <= timezone.now():
        return pill("expired", "warning")
    return pill("live", "ok") if token.live else pill("used up", "warning")


def clock_words(vehicle: Vehicle) -> SafeString | str:
    """How far the vehicle's clock was off when it last told its time; a pill when it is more than a minute."""
    if vehicle.clock_offset_ms is None:
        return NOTHING
    offset = vehicle.clock_offset_ms
    words = f"{duration(abs(offset) / 1000)} {'ahead' if offset > 0 else 'behind'}" if offset else "exact"
    when = f"measured {age(vehicle.clock_measured_at)} ago"
    shown = pill(words, "warning") if vehicle.clock_is_off else words
    return format_html('<span title="{}">{}</span>', when, shown)
