"""The whole map on one screen; each app declares its pages and what they ask for in its own urls.py."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page, used_seats
from apps.audit import views as audit_views
from apps.billing import views as billing_views
from apps.billing.roles import Limit
from apps.links.services import live_links
from apps.storage.services import used_bytes
from portal import views

# Audit and billing stand below the rules and below what is counted: their pages are declared here.
COUNTERS = {
    Limit.STORAGE_BYTES: used_bytes,
    Limit.SEATS: used_seats,
    Limit.LINKS: lambda clinic: live_links(clinic).count(),
}
AUDIT = Rule.clinic(Capability.AUDIT_READ)
BILLING = Rule.clinic(Capability.BILLING_READ)

urlpatterns = [
    # First what viewers ask for hundreds of times: patterns are tried one after the other.
    path("", include("apps.dicomweb.urls")),
    page("healthz", views.healthz, Rule.public(), name="healthz"),
    page("readyz", views.readyz, Rule.public(), name="readyz"),
    page("c/<slug:clinic_slug>/audit/", audit_views.audit, AUDIT, name="audit"),
    page("c/<slug:clinic_slug>/audit/export.csv", audit_views.export, AUDIT, name="audit-export"),
    page(
        "c/<slug:clinic_slug>/billing/", billing_views.billing, BILLING, name="billing", kwargs={"counters": COUNTERS}
    ),
    path("", include("apps.accounts.urls")),
    path("", include("apps.patients.urls")),
    path("", include("apps.studies.urls")),
    path("", include("apps.exports.urls")),
    path("", include("apps.backup.urls")),
    path("", include("apps.deidentification.urls")),
    path("", include("apps.ingest.urls")),
    path("", include("apps.sharing.urls")),
    path("", include("apps.viewer.urls")),
    path(f"{settings.ADMIN_PATH}/", admin.site.urls),
]
handler400 = "portal.views.bad_request"
handler403 = "portal.views.permission_denied"
handler404 = "portal.views.page_not_found"
handler500 = "portal.views.server_error"
