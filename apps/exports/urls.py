"""The pages of exports and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.exports import views

urlpatterns = [
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/download/",
        views.study_download,
        Rule.clinic(Capability.STUDY_DOWNLOAD),
        name="study-download",
    ),
]
