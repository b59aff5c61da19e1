"""The pages of the way in and what each asks for."""

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.ingest import conflict_views, document_views, inbox_views, request_views, senders, views
from apps.ingest.door_urls import patterns

CREATE = Rule.clinic(Capability.UPLOAD_CREATE)
VIEW = Rule.clinic(Capability.UPLOAD_VIEW)
ASK = Rule.clinic(Capability.REQUEST_CREATE)
INBOX = Rule.clinic(Capability.INBOX_MANAGE)
IDENTITY = Rule.clinic(Capability.IDENTITY_MANAGE)
CONFLICT = "c/<slug:clinic_slug>/conflicts/<str:conflict_id>/"
# What is refused is destroyed for good.
DESTROY = Rule.clinic(Capability.INBOX_MANAGE, step_up=True)
REQUESTS, ITEM = "c/<slug:clinic_slug>/upload-requests/", "c/<slug:clinic_slug>/inbox/<str:arrival_id>/"

urlpatterns = [
    *patterns(views.CLINIC_DOOR),
    page("c/<slug:clinic_slug>/upload/", views.upload, CREATE, name="upload"),
    page("c/<slug:clinic_slug>/uploads/", views.batches, VIEW, name="uploads"),
    page("c/<slug:clinic_slug>/uploads/<str:batch_id>/", views.batch, VIEW, name="upload-batch"),
    page("c/<slug:clinic_slug>/uploads/<str:batch_id>/files.csv", views.batch_csv, VIEW, name="upload-csv"),
    page("c/<slug:clinic_slug>/uploads/<str:batch_id>/progress/", views.batch_progress, VIEW, name="upload-progress"),
    page("c/<slug:clinic_slug>/studies/<str:study_id>/uploads/", views.study_uploads, VIEW, name="study-uploads"),
    page(
        "c/<slug:clinic_slug>/documents/<str:public_id>/object/",
        document_views.document_object,
        CREATE,
        name="document-object",
    ),
    page(REQUESTS, request_views.request_list, ASK, name="upload-requests"),
    page(f"{REQUESTS}new/", request_views.request_create, ASK, name="upload-request-create"),
    page(f"{REQUESTS}<str:link_id>/", request_views.request_detail, ASK, name="upload-request"),
    page(f"{REQUESTS}<str:link_id>/extend/", request_views.request_extend, ASK, name="upload-request-extend"),
    page(f"{REQUESTS}<str:link_id>/revoke/", request_views.request_revoke, ASK, name="upload-request-revoke"),
    page("c/<slug:clinic_slug>/inbox/", inbox_views.inbox_list, INBOX, name="inbox"),
    page(ITEM, inbox_views.inbox_item, INBOX, name="inbox-item"),
    page(f"{ITEM}preview/<str:upload_id>/", inbox_views.inbox_preview, INBOX, name="inbox-preview"),
    page(f"{ITEM}assign/", inbox_views.inbox_assign, INBOX, name="inbox-assign"),
    page(f"{ITEM}refuse/", inbox_views.inbox_reject, DESTROY, name="inbox-reject"),
    page("c/<slug:clinic_slug>/conflicts/", conflict_views.conflict_list, IDENTITY, name="conflicts"),
    page(CONFLICT, conflict_views.conflict, IDENTITY, name="conflict"),
    page(f"{CONFLICT}picture/<str:side>/", conflict_views.conflict_picture, IDENTITY, name="conflict-picture"),
    page(f"{CONFLICT}settle/", conflict_views.conflict_settle, IDENTITY, name="conflict-settle"),
    page(f"{CONFLICT}undo/", conflict_views.conflict_undo, IDENTITY, name="conflict-undo"),
    # The sender's side. Chat programs cut or add the slash at the end: both open.
    page("u/<str:token>", senders.landing, Rule.public(), name="request-landing"),
    page("u/<str:token>/", senders.landing, Rule.public(), name="request-landing-slash"),
    page("w/<str:link_id>/", senders.home, Rule.link(), name="request-home"),
    page("w/<str:link_id>/leave/", senders.close, Rule.link(), name="request-leave"),
    *patterns(senders.SENDER_DOOR),
]
