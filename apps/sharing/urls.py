"""The pages of sharing and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.sharing import downloads, patients, recipients, views

_LINK = "c/<slug:clinic_slug>/links/<str:link_id>/"
_SHARED = "v/<str:link_id>/"
_CHILD = f"{_SHARED}links/<str:child_id>/"

urlpatterns = [
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/share/",
        views.share_create,
        Rule.clinic(Capability.LINK_CREATE),
        name="share-create",
    ),
    page("c/<slug:clinic_slug>/links/", views.link_list, Rule.clinic(Capability.LINK_CREATE), name="links"),
    page(
        "c/<slug:clinic_slug>/links/revoke/",
        views.links_revoke,
        Rule.clinic(Capability.LINK_CREATE),
        name="links-revoke",
    ),
    page(
        "c/<slug:clinic_slug>/links/<str:link_id>/",
        views.link_detail,
        Rule.clinic(Capability.LINK_CREATE),
        name="link-detail",
    ),
    *(
        page(f"{_LINK}{act}/", view, Rule.clinic(Capability.LINK_CREATE), name=f"link-{act}")
        for act, view in (
            ("revoke", views.link_revoke),
            ("pause", views.link_pause),
            ("resume", views.link_resume),
            ("extend", views.link_extend),
        )
    ),
    # The recipient's side. Chat programs cut or add the slash at the end: both open.
    page("s/<str:token>", recipients.landing, Rule.public(), name="share-landing"),
    page("s/<str:token>/", recipients.landing, Rule.public(), name="share-landing-slash"),
    page(_SHARED, recipients.share_home, Rule.link(), name="share-home"),
    page(f"{_SHARED}close/", recipients.share_close, Rule.link(), name="share-close"),
    page(f"{_SHARED}download/", downloads.share_download_all, Rule.link(), name="share-download-all"),
    page(f"{_SHARED}download/<str:public_id>/", downloads.share_download, Rule.link(), name="share-download"),
    page(f"{_SHARED}documents/<str:public_id>/", downloads.share_document, Rule.link(), name="share-document"),
    page(f"{_SHARED}series/<str:public_id>/picture/", downloads.share_picture, Rule.link(), name="share-picture"),
    page(f"{_SHARED}series/<str:public_id>/film/", downloads.share_film, Rule.link(), name="share-film"),
    page(f"{_SHARED}exports/", downloads.share_exports, Rule.link(), name="share-exports"),
    page(f"{_SHARED}exports/prepare/", downloads.share_prepare, Rule.link(), name="share-prepare"),
    page(f"{_SHARED}exports/<str:export_id>/", downloads.share_export_download, Rule.link(), name="share-export"),
    # The patient's own link.
    page(f"{_SHARED}visits/", patients.share_visits, Rule.link(), name="share-visits"),
    page(f"{_SHARED}visits/<str:event_id>/receipt.json", patients.share_receipt, Rule.link(), name="share-receipt"),
    page(f"{_SHARED}pass-on/", patients.share_pass_on, Rule.link(), name="share-pass-on"),
    page(f"{_SHARED}end/", patients.share_end, Rule.link(), name="share-end"),
    page(f"{_CHILD}revoke/", patients.share_child_revoke, Rule.link(), name="share-child-revoke"),
    page(f"{_CHILD}pause/", patients.share_child_pause, Rule.link(), name="share-child-pause"),
    page(f"{_CHILD}resume/", patients.share_child_resume, Rule.link(), name="share-child-resume"),
]
