"""The whole map on one screen; each app declares its pages and what they ask for in its own urls.py."""

from django.contrib import admin
from django.urls import include, path

from apps.accounts.roles import Rule
from apps.accounts.services import page
from portal import views

urlpatterns = [
    page("healthz", views.healthz, Rule.public(), name="healthz"),
    page("readyz", views.readyz, Rule.public(), name="readyz"),
    path("", include("apps.accounts.urls")),
    path("", include("apps.patients.urls")),
    path("", include("apps.studies.urls")),
    path("", include("apps.exports.urls")),
    path("", include("apps.ingest.urls")),
    path("", include("apps.sharing.urls")),
    path("", include("apps.dicomweb.urls")),
    path("", include("apps.viewer.urls")),
    path("admin/", admin.site.urls),
]
handler400 = "portal.views.bad_request"
handler403 = "portal.views.permission_denied"
handler404 = "portal.views.page_not_found"
handler500 = "portal.views.server_error"
