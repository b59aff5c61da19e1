"""The pages of de-identification and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.deidentification import views

_CLINIC = "c/<slug:clinic_slug>/"
MANAGE = Rule.clinic(Capability.CLINIC_MANAGE)
# Who may hand images to somebody outside says what may go.
RELEASE = Rule.clinic(Capability.LINK_CREATE)

urlpatterns = [
    page(f"{_CLINIC}anonymisation/", views.anonymisation, MANAGE, name="anonymisation"),
    page(
        f"{_CLINIC}anonymisation/pseudonyms/",
        views.pseudonyms,
        Rule.clinic(Capability.CLINIC_MANAGE, step_up=True),
        name="pseudonyms",
    ),
    page(f"{_CLINIC}reviews/", views.reviews, RELEASE, name="reviews"),
    page(f"{_CLINIC}reviews/<str:public_id>/", views.review, RELEASE, name="review"),
    page(f"{_CLINIC}reviews/<str:public_id>/frames/<int:number>/", views.review_frame, RELEASE, name="review-frame"),
    page(
        f"{_CLINIC}studies/<str:public_id>/copies/", views.copies, Rule.clinic(Capability.STUDY_DOWNLOAD), name="copies"
    ),
    page(
        f"{_CLINIC}copies/<str:public_id>/download/",
        views.copy_download,
        Rule.clinic(Capability.STUDY_DOWNLOAD),
        name="copy-download",
    ),
    page(f"{_CLINIC}reports/<str:public_id>/", views.report, Rule.clinic(Capability.STUDY_VIEW), name="report"),
    page(
        f"{_CLINIC}reports/<str:public_id>/report.json",
        views.report_json,
        Rule.clinic(Capability.STUDY_VIEW),
        name="report-json",
    ),
    page(
        f"{_CLINIC}reports/<str:public_id>/verify/",
        views.report_verify,
        Rule.clinic(Capability.STUDY_DOWNLOAD),
        name="report-verify",
    ),
]
