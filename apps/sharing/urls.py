"""The pages of sharing and what each asks for."""

from __future__ import annotations

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.sharing import recipients, views

urlpatterns = [
    page(
        "c/<slug:clinic_slug>/studies/<str:public_id>/share/",
        views.share_create,
        Rule.clinic(Capability.LINK_CREATE),
        name="share-create",
    ),
    page("c/<slug:clinic_slug>/links/", views.link_list, Rule.clinic(Capability.LINK_CREATE), name="links"),
    page(
        "c/<slug:clinic_slug>/links/<str:link_id>/",
        views.link_detail,
        Rule.clinic(Capability.LINK_CREATE),
        name="link-detail",
    ),
    page(
        "c/<slug:clinic_slug>/links/<str:link_id>/revoke/",
        views.link_revoke,
        Rule.clinic(Capability.LINK_CREATE),
        name="link-revoke",
    ),
    # The recipient's side. Chat programs cut or add the slash at the end: both open.
    page("s/<str:token>", recipients.landing, Rule.public(), name="share-landing"),
    page("s/<str:token>/", recipients.landing, Rule.public(), name="share-landing-slash"),
    page("v/<str:link_id>/", recipients.share_home, Rule.link(), name="share-home"),
    page("v/<str:link_id>/download/<str:public_id>/", recipients.share_download, Rule.link(), name="share-download"),
    page("v/<str:link_id>/close/", recipients.share_close, Rule.link(), name="share-close"),
]
