"""The pages of patients and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.patients import views

urlpatterns = [
    page(
        "c/<slug:clinic_slug>/patients/<str:public_id>/",
        views.patient,
        Rule.clinic(Capability.STUDY_VIEW),
        name="patient",
    ),
]
