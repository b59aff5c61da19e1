"""The pages of the viewers and what each asks for.

The quick viewer stands at the page itself. The full viewer is a program with routes of its own below it: its
`<page>/viewer` shows the study, and reloading that must work.
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
    page(
        "c/<slug:clinic_slug>/series/<str:public_id>/words/",
        views.viewer_reports,
        Rule.clinic(Capability.STUDY_VIEW),
        name="viewer-reports",
    ),
    page(_RECIPIENT, views.share_viewer, Rule.link(), name="share-viewer"),
    page(f"{_RECIPIENT}<slug:mode>", views.share_viewer, Rule.link(), name="share-viewer-mode"),
    page(
        "v/<str:link_id>/series/<str:public_id>/words/",
        views.share_viewer_reports,
        Rule.link(),
        name="share-viewer-reports",
    ),
]
