"""What the verbs of the trail are called on its page, and the groups they are filtered by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

VERBS: Final[dict[str, str | Promise]] = {
    "access.denied": gettext_lazy("Access refused"),
    "apitoken.changed": gettext_lazy("API token changed"),
    "apitoken.created": gettext_lazy("API token made"),
    "apitoken.deleted": gettext_lazy("API token removed"),
    "arrival.assigned": gettext_lazy("Arrival assigned to a patient"),
    "arrival.listed": gettext_lazy("Inbox looked at"),
    "arrival.received": gettext_lazy("Files arrived in the inbox"),
    "arrival.rejected": gettext_lazy("Arrival refused and destroyed"),
    "arrival.viewed": gettext_lazy("Arrival looked at"),
    "audit.exported": gettext_lazy("Audit exported"),
    "audit.viewed": gettext_lazy("Audit read"),
    "backup.restored": gettext_lazy("Restored from a backup, beside what is there"),
    "backup.reported": gettext_lazy("Report on the backups taken along"),
    "clinic.changed": gettext_lazy("Clinic changed"),
    "clinic.exported": gettext_lazy("All images of the clinic written to files"),
    "clinic.created": gettext_lazy("Clinic made"),
    "clinic.deleted": gettext_lazy("Clinic removed"),
    "conflict.listed": gettext_lazy("Conflicting versions listed"),
    "conflict.settled": gettext_lazy("Conflicting version decided about"),
    "conflict.undone": gettext_lazy("Decision about a conflicting version taken back"),
    "conflict.viewed": gettext_lazy("Conflicting versions compared"),
    "correction.listed": gettext_lazy("Corrections listed"),
    "correction.prepared": gettext_lazy("Form for a correction opened"),
    "correction.undone": gettext_lazy("Correction taken back"),
    "copy.downloaded": gettext_lazy("Anonymised copy downloaded"),
    "copy.ended": gettext_lazy("Anonymised copy deleted"),
    "copy.listed": gettext_lazy("Anonymised copies listed"),
    "copy.prepared": gettext_lazy("Anonymised copy ready"),
    "copy.requested": gettext_lazy("Anonymised copy asked for"),
    "deidentification.changed": gettext_lazy("Choices for anonymising changed"),
    "deidentification.viewed": gettext_lazy("Choices for anonymising looked at"),
    "document.converted": gettext_lazy("DICOM object made of a document"),
    "document.stored": gettext_lazy("Documents stored"),
    "document.viewed": gettext_lazy("Document opened"),
    "key.rotated": gettext_lazy("Encryption key replaced"),
    "export.listed": gettext_lazy("Prepared downloads listed"),
    "export.requested": gettext_lazy("Download asked to be prepared"),
    "factor.enrolled": gettext_lazy("Authenticator enrolled"),
    "factor.failed": gettext_lazy("Second factor refused"),
    "factor.removed": gettext_lazy("Authenticator removed"),
    "grant.created": gettext_lazy("Access to a study or patient granted"),
    "grant.removed": gettext_lazy("Access to a study or patient withdrawn"),
    "identity.confirmed": gettext_lazy("Two patients confirmed as two people"),
    "identity.listed": gettext_lazy("Identities in doubt listed"),
    "clinic.erased": gettext_lazy("Everything of the clinic destroyed for good"),
    "installation.rebuilt": gettext_lazy("Index remade from the stored images"),
    "restore.drilled": gettext_lazy("Restore drill: everything restored into an empty directory, and looked at"),
    "installation.restored": gettext_lazy("Database restored from a backup: what came after that moment is not in it"),
    "instance.downloaded": gettext_lazy("Image downloaded"),
    "instance.stored": gettext_lazy("Images stored"),
    "instance.viewed": gettext_lazy("Image viewed"),
    "invitation.accepted": gettext_lazy("Invitation accepted"),
    "invitation.created": gettext_lazy("Person invited"),
    "invitation.withdrawn": gettext_lazy("Invitation withdrawn"),
    "link.code_sent": gettext_lazy("One-time code sent"),
    "link.created": gettext_lazy("Link made"),
    "link.extended": gettext_lazy("Link given more time"),
    "link.frozen": gettext_lazy("Link frozen after wrong answers"),
    "link.listed": gettext_lazy("Links listed"),
    "link.opened": gettext_lazy("Link opened"),
    "link.paused": gettext_lazy("Link paused"),
    "link.prepared": gettext_lazy("Form for a new link opened"),
    "link.refused": gettext_lazy("Link refused"),
    "link.resumed": gettext_lazy("Link opened again after a pause"),
    "link.revoked": gettext_lazy("Link revoked"),
    "link.sent": gettext_lazy("Link sent by mail"),
    "link.viewed": gettext_lazy("Link looked at"),
    "membership.changed": gettext_lazy("Role changed"),
    "membership.removed": gettext_lazy("Person removed"),
    "password.changed": gettext_lazy("Password changed"),
    "password.reset": gettext_lazy("Password reset"),
    "password.reset_requested": gettext_lazy("Password reset asked for"),
    "patient.erased": gettext_lazy("Patient destroyed for good"),
    "patient.merged": gettext_lazy("Patients merged"),
    "patient.searched": gettext_lazy("Patients searched"),
    "patient.split": gettext_lazy("Patient split"),
    "patient.downloaded": gettext_lazy("All studies of a patient downloaded"),
    "patient.viewed": gettext_lazy("Patient viewed"),
    "plan.changed": gettext_lazy("Plan changed"),
    "plan.created": gettext_lazy("Plan made"),
    "plan.deleted": gettext_lazy("Plan removed"),
    "receipt.issued": gettext_lazy("Receipt of a view issued"),
    "pseudonym.listed": gettext_lazy("Table of pseudonyms opened"),
    "pseudonym.revealed": gettext_lazy("Pseudonym looked up"),
    "recovery_code.used": gettext_lazy("Recovery code used"),
    "recovery_codes.created": gettext_lazy("Recovery codes made"),
    "report.downloaded": gettext_lazy("Report of an anonymisation downloaded"),
    "report.requested": gettext_lazy("Anonymised images searched again"),
    "report.viewed": gettext_lazy("Report of an anonymisation read"),
    "review.approved": gettext_lazy("Image approved for anonymised copies"),
    "review.listed": gettext_lazy("Images to look at listed"),
    "review.refused": gettext_lazy("Image left out of anonymised copies"),
    "review.viewed": gettext_lazy("Image looked at before release"),
    "series.downloaded": gettext_lazy("Series downloaded"),
    "series.viewed": gettext_lazy("Series viewed"),
    "session.ended": gettext_lazy("Session ended"),
    "session.expired": gettext_lazy("Session expired"),
    "storage.rebuilt": gettext_lazy("Storage place filled anew"),
    "study.deleted": gettext_lazy("Study put into the recycle bin"),
    "study.downloaded": gettext_lazy("Study downloaded"),
    "study.erased": gettext_lazy("Study destroyed for good"),
    "study.listed": gettext_lazy("Studies listed"),
    "study.moved": gettext_lazy("Study moved to another patient"),
    "study.opened": gettext_lazy("Study opened in the viewer"),
    "study.restored": gettext_lazy("Study taken out of the recycle bin"),
    "study.searched": gettext_lazy("Studies searched"),
    "study.viewed": gettext_lazy("Study viewed"),
    "thumbnails.viewed": gettext_lazy("Small pictures of a study viewed"),
    "subscription.created": gettext_lazy("Subscription begun"),
    "token.created": gettext_lazy("API token made"),
    "token.revoked": gettext_lazy("API token revoked"),
    "upload.ignored": gettext_lazy("Files ignored"),
    "upload.infected": gettext_lazy("Harmful files destroyed"),
    "upload.listed": gettext_lazy("Uploads listed"),
    "upload.opened": gettext_lazy("Archive unpacked"),
    "upload.received": gettext_lazy("Files received"),
    "upload.recognised": gettext_lazy("Files were there already"),
    "upload.rejected": gettext_lazy("Files rejected"),
    "upload.requested": gettext_lazy("Upload begun"),
    "upload.viewed": gettext_lazy("Upload looked at"),
    "upload.withdrawn": gettext_lazy("Upload cancelled, what had arrived was destroyed"),
    "upload.withheld": gettext_lazy("Files withheld, they contradict what is stored"),
    "user.changed": gettext_lazy("Account changed"),
    "user.confirmed": gettext_lazy("Second factor shown again"),
    "user.created": gettext_lazy("Account made"),
    "user.locked_out": gettext_lazy("Locked out after wrong passwords"),
    "user.password_accepted": gettext_lazy("Password accepted"),
    "user.sign_in_failed": gettext_lazy("Sign-in failed"),
    "user.signed_in": gettext_lazy("Signed in"),
    "user.signed_out": gettext_lazy("Signed out"),
}

ACTOR_KINDS: Final[dict[str, str | Promise]] = {
    "user": gettext_lazy("Person"),
    "link": gettext_lazy("Share link"),
    "token": gettext_lazy("API token"),
    "system": gettext_lazy("Viewbox"),
    "anonymous": gettext_lazy("Somebody not signed in"),
}

OBJECT_KINDS: Final[dict[str, str | Promise]] = {
    "study": gettext_lazy("Study"),
    "series": gettext_lazy("Series"),
    "instance": gettext_lazy("Image"),
    "patient": gettext_lazy("Patient"),
    "document": gettext_lazy("Document"),
    "link": gettext_lazy("Link"),
    "upload": gettext_lazy("Upload"),
    "arrival": gettext_lazy("Arrival"),
    "conflict": gettext_lazy("Conflict"),
    "correction": gettext_lazy("Correction"),
    "identity": gettext_lazy("Identity in doubt"),
    "clinic": gettext_lazy("Clinic"),
    "user": gettext_lazy("Account"),
    "membership": gettext_lazy("Membership"),
    "invitation": gettext_lazy("Invitation"),
    "token": gettext_lazy("API token"),
    "apitoken": gettext_lazy("API token"),
    "session": gettext_lazy("Session"),
    "plan": gettext_lazy("Plan"),
    "subscription": gettext_lazy("Subscription"),
    "copy": gettext_lazy("Anonymised copy"),
    "review": gettext_lazy("Image to look at"),
    "report": gettext_lazy("Report"),
    "audit": gettext_lazy("Audit"),
    "event": gettext_lazy("Record"),
    "export": gettext_lazy("Prepared download"),
}


@dataclass(frozen=True)
class Group:
    """Events that people look for together."""

    label: str | Promise
    condition: Q


def _starting(*prefixes: str) -> Q:
    condition = Q()
    for prefix in prefixes:
        condition |= Q(verb__startswith=f"{prefix}.")
    return condition


_VIEWED = Q(
    verb__in=(
        "study.viewed",
        "study.opened",
        "thumbnails.viewed",
        "series.viewed",
        "instance.viewed",
        "patient.viewed",
        "document.viewed",
    )
)
_DOWNLOADED = Q(verb__endswith=".downloaded")
_LOOKED_FOR = Q(verb__endswith=".searched") | Q(verb__endswith=".listed")
_LINKS = _starting("link", "share")
_SIGN_IN = _starting("user", "session", "factor", "password", "recovery_code", "recovery_codes") & ~Q(
    verb__in=("user.created", "user.changed")
)
_UPLOADS = _starting("upload", "batch", "arrival", "conflict") | Q(verb__endswith=".stored")
_REFUSED = ~Q(outcome="success")

GROUPS: Final[dict[str, Group]] = {
    "viewed": Group(gettext_lazy("Studies and patients opened"), _VIEWED),
    "downloaded": Group(gettext_lazy("Downloads"), _DOWNLOADED),
    "searched": Group(gettext_lazy("Searches and lists"), _LOOKED_FOR),
    "links": Group(gettext_lazy("Links: made, opened, revoked"), _LINKS | Q(actor_kind="link")),
    "uploads": Group(gettext_lazy("Uploads"), _UPLOADS),
    "sign-in": Group(gettext_lazy("Sign-ins and sessions"), _SIGN_IN),
    "refused": Group(gettext_lazy("Refused and failed"), _REFUSED),
    "audit": Group(gettext_lazy("Reading this audit"), _starting("audit", "receipt")),
    "settings": Group(
        gettext_lazy("People, settings, plan"),
        ~(_VIEWED | _DOWNLOADED | _LOOKED_FOR | _LINKS | _SIGN_IN | _UPLOADS | _starting("audit", "receipt", "access")),
    ),
}


def verb_words(verb: str) -> str:
    """Return what a verb is called; one without words of its own is spelled out."""
    words = VERBS.get(verb)
    return str(words) if words is not None else verb.replace(".", " ").replace("_", " ").capitalize()


def kind_words(kind: str) -> str:
    """Return what a kind of object is called."""
    words = OBJECT_KINDS.get(kind)
    return str(words) if words is not None else kind.replace("_", " ").capitalize()


def actor_words(actor_kind: str) -> str:
    """Return what a kind of actor is called."""
    words = ACTOR_KINDS.get(actor_kind)
    return str(words) if words is not None else actor_kind.capitalize()


def detail_words(key: str, value: object) -> str:
    """Return one detail as "key: value" in plain words."""
    name = key.removesuffix("_reference").removesuffix("_references").replace("_", " ")
    if isinstance(value, bool):
        said = _("yes") if value else _("no")
    elif isinstance(value, list):
        said = ", ".join(str(item) for item in value) or _("none")
    else:
        said = str(value)
    return f"{name}: {said}"
