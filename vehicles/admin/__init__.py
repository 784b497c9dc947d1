"""Vehicles, fleets, platforms, tokens, enrolment and signal databases in the admin."""

from vehicles.admin.databases import SignalDatabaseAdmin
from vehicles.admin.enrolment import EnrolmentTokenAdmin, PreapprovalAdmin
from vehicles.admin.fleets import FleetAdmin, PlatformAdmin
from vehicles.admin.parts import clock_words, token_state, vehicle_state
from vehicles.admin.tokens import ApiTokenAdmin
from vehicles.admin.vehicles import VehicleAdmin

__all__ = [
    "ApiTokenAdmin",
    "EnrolmentTokenAdmin",
    "FleetAdmin",
    "PlatformAdmin",
    "PreapprovalAdmin",
    "SignalDatabaseAdmin",
    "VehicleAdmin",
    "clock_words",
    "token_state",
    "vehicle_state",
]
