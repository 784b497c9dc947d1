"""Addresses by which vehicles come in and keep their tokens."""

from django.urls import path

from vehicles.api import views

urlpatterns = [
    path("enrol", views.Enrol.as_view(), name="enrol"),
    path("enrol/<uuid:enrolment_id>/claim", views.Claim.as_view(), name="enrolment-claim"),
    path("token", views.Token.as_view(), name="token"),
]
