"""What a clinic can see of its backups."""

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.backup import views

RULE = Rule.clinic(Capability.CLINIC_MANAGE)

urlpatterns = [
    page("c/<slug:clinic_slug>/backups/", views.backups, RULE, name="backups"),
    page("c/<slug:clinic_slug>/backups/report.pdf", views.report, RULE, name="backup-report"),
]
