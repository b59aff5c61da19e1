"""The pages of studies and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.studies import views

SEARCH = Rule.clinic(Capability.STUDY_SEARCH)
VIEW = Rule.clinic(Capability.STUDY_VIEW)

urlpatterns = [
    page("c/<slug:clinic_slug>/", views.worklist, SEARCH, name="worklist"),
    page("c/<slug:clinic_slug>/studies/<str:public_id>/", views.study, VIEW, name="study"),
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/views/",
        views.study_views,
        Rule.clinic(Capability.AUDIT_READ),
        name="study-views",
    ),
    page(
        "c/<slug:clinic_slug>/series/<str:public_id>/thumbnail/", views.series_thumbnail, VIEW, name="series-thumbnail"
    ),
    page("c/<slug:clinic_slug>/documents/<str:public_id>/", views.document, VIEW, name="document"),
]
