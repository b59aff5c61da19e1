"""The pages of studies and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.studies import correction_views, document_views, recycling_views, views

SEARCH = Rule.clinic(Capability.STUDY_SEARCH)
VIEW = Rule.clinic(Capability.STUDY_VIEW)
MANAGE = Rule.clinic(Capability.CLINIC_MANAGE)
IDENTITY = Rule.clinic(Capability.IDENTITY_MANAGE)

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
    page("c/<slug:clinic_slug>/documents/<str:public_id>/", document_views.document, VIEW, name="document"),
    page(
        "c/<slug:clinic_slug>/documents/<str:public_id>/picture/",
        document_views.document_picture,
        VIEW,
        name="document-picture",
    ),
    page(
        "c/<slug:clinic_slug>/patients/<str:public_id>/documents/",
        document_views.patient_documents,
        VIEW,
        name="patient-documents",
    ),
    page(
        "c/<slug:clinic_slug>/series/<str:public_id>/papers/",
        document_views.series_papers,
        VIEW,
        name="series-papers",
    ),
    page(
        "c/<slug:clinic_slug>/series/<str:public_id>/papers/<str:sop_instance_uid>/",
        document_views.series_paper_file,
        VIEW,
        name="series-paper-file",
    ),
    page("c/<slug:clinic_slug>/identities/", correction_views.identities, IDENTITY, name="identities"),
    page(
        "c/<slug:clinic_slug>/identities/<str:flag_id>/different/",
        correction_views.identity_different,
        IDENTITY,
        name="identity-different",
    ),
    page(
        "c/<slug:clinic_slug>/patients/<str:public_id>/merge/",
        correction_views.patient_merge,
        IDENTITY,
        name="patient-merge",
    ),
    page(
        "c/<slug:clinic_slug>/patients/<str:public_id>/split/",
        correction_views.patient_split,
        IDENTITY,
        name="patient-split",
    ),
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/move/", correction_views.study_move, IDENTITY, name="study-move"
    ),
    page("c/<slug:clinic_slug>/corrections/", correction_views.correction_list, IDENTITY, name="corrections"),
    page(
        "c/<slug:clinic_slug>/corrections/<str:correction_id>/undo/",
        correction_views.correction_undo,
        IDENTITY,
        name="correction-undo",
    ),
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/delete/",
        recycling_views.study_delete,
        MANAGE,
        name="study-delete",
    ),
    page("c/<slug:clinic_slug>/deleted/", recycling_views.deleted_studies, MANAGE, name="deleted-studies"),
    page(
        "c/<slug:clinic_slug>/deleted/<str:deleted_id>/restore/",
        recycling_views.study_restore,
        MANAGE,
        name="study-restore",
    ),
]
