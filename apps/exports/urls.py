"""The pages of exports and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.exports import receipt_views, views

DOWNLOAD = Rule.clinic(Capability.STUDY_DOWNLOAD)

urlpatterns = [
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/download/", views.study_download, DOWNLOAD, name="study-download"
    ),
    page(
        "c/<slug:clinic_slug>/series/<str:public_id>/download/", views.series_download, DOWNLOAD, name="series-download"
    ),
    page(
        "c/<slug:clinic_slug>/patients/<str:public_id>/download/",
        views.patient_download,
        DOWNLOAD,
        name="patient-download",
    ),
    page(
        "c/<slug:clinic_slug>/audit/<str:event_id>/receipt.json",
        receipt_views.audit_receipt,
        Rule.clinic(Capability.AUDIT_READ),
        name="audit-receipt",
    ),
    page("receipts/", receipt_views.receipts, Rule.public(), name="receipts"),
]
