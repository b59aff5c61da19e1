"""The pages of the way in and what each asks for."""

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.ingest import views
from apps.ingest.door_urls import patterns

CREATE = Rule.clinic(Capability.UPLOAD_CREATE)
VIEW = Rule.clinic(Capability.UPLOAD_VIEW)

urlpatterns = [
    *patterns(views.CLINIC_DOOR),
    page("c/<slug:clinic_slug>/upload/", views.upload, CREATE, name="upload"),
    page("c/<slug:clinic_slug>/uploads/", views.batches, VIEW, name="uploads"),
    page("c/<slug:clinic_slug>/uploads/<str:batch_id>/", views.batch, VIEW, name="upload-batch"),
    page("c/<slug:clinic_slug>/uploads/<str:batch_id>/files/", views.receive_files, CREATE, name="upload-files"),
    page("c/<slug:clinic_slug>/uploads/<str:batch_id>/progress/", views.batch_progress, VIEW, name="upload-progress"),
    page("c/<slug:clinic_slug>/studies/<str:study_id>/uploads/", views.study_uploads, VIEW, name="study-uploads"),
]
