"""The pages of the viewer and what each asks for.

The viewer is a program of its own with its own routes below the page it was opened at: `<page>/viewer` shows the study,
and reloading that must work, so that it is served at both.
"""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.viewer import views

_MEMBER = "c/<slug:clinic_slug>/viewer/<str:public_id>/"
_RECIPIENT = "v/<str:link_id>/studies/<str:public_id>/"

urlpatterns = [
    page(_MEMBER, views.viewer, Rule.clinic(Capability.STUDY_VIEW), name="viewer"),
    page(f"{_MEMBER}<slug:mode>", views.viewer, Rule.clinic(Capability.STUDY_VIEW), name="viewer-mode"),
    page(_RECIPIENT, views.share_viewer, Rule.link(), name="share-viewer"),
    page(f"{_RECIPIENT}<slug:mode>", views.share_viewer, Rule.link(), name="share-viewer-mode"),
]
