"""The pages of exports and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.exports import picture_views, receipt_views, views

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
    page("c/<slug:clinic_slug>/exports/", views.export_list, DOWNLOAD, name="exports"),
    page("c/<slug:clinic_slug>/exports/<str:export_id>/", views.export_download, DOWNLOAD, name="export-download"),
    page("c/<slug:clinic_slug>/studies/<str:public_id>/prepare/", views.study_prepare, DOWNLOAD, name="study-prepare"),
    page(
        "c/<slug:clinic_slug>/patients/<str:public_id>/prepare/",
        views.patient_prepare,
        DOWNLOAD,
        name="patient-prepare",
    ),
    page(
        "c/<slug:clinic_slug>/series/<str:public_id>/picture/",
        picture_views.series_picture,
        DOWNLOAD,
        name="series-picture",
    ),
    page("c/<slug:clinic_slug>/series/<str:public_id>/film/", picture_views.series_film, DOWNLOAD, name="series-film"),
    page("receipts/", receipt_views.receipts, Rule.public(), name="receipts"),
]
