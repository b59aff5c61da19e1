"""The monthly report of the backups as PDF, for the practice's files: who is responsible, what ran, what was proven."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from apps.accounts.roles import Role
from apps.backup.alarms import recipients
from apps.backup.proven import Month, Proof
from apps.clinics.models import Clinic

INK: Final = colors.HexColor("#1d2733")
QUIET: Final = colors.HexColor("#5c6b7a")
LINE: Final = colors.HexColor("#cfd8e0")
MOST_FINDINGS: Final = 5


@cache
def _fonts() -> tuple[str, str]:
    """Return the names of a regular and a bold font with the letters of Europe (they come with reportlab)."""
    rl_config.TTFSearchPath.append(str(Path(rl_config.__file__).parent / "fonts"))
    pdfmetrics.registerFont(TTFont("Vera", "Vera.ttf"))
    pdfmetrics.registerFont(TTFont("VeraBd", "VeraBd.ttf"))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="VeraBd", italic="Vera", boldItalic="VeraBd")
    return "Vera", "VeraBd"


def report_pdf(month: Month) -> bytes:
    """Return the report of one clinic and month as a PDF file."""
    out = io.BytesIO()
    title = _("Backups of %(clinic)s, %(month)s") % {
        "clinic": month.clinic.name,
        "month": date_format(month.first, "F Y"),
    }
    document = SimpleDocTemplate(
        out, pagesize=A4, title=title, author="Viewbox", leftMargin=18 * mm, rightMargin=18 * mm, topMargin=18 * mm,
        bottomMargin=18 * mm,
    )  # fmt: skip
    document.build(_story(month, title), onFirstPage=_footer, onLaterPages=_footer)
    return out.getvalue()


def report_name(clinic: Clinic, first: date) -> str:
    """Return what the file of a month's report is called."""
    return f"{clinic.slug}-backups-{first:%Y-%m}.pdf"


def _story(month: Month, title: str) -> list[Flowable]:
    passed = [proof for proof in month.proofs if proof.has_passed]
    story: list[Flowable] = [
        _text(title, size=17, is_bold=True),
        Spacer(1, 2 * mm),
        _text(
            _("%(passed)d of %(all)d restore drills passed. Made on %(day)s.")
            % {
                "passed": len(passed),
                "all": len(month.proofs),
                "day": date_format(timezone.localtime(), "DATETIME_FORMAT"),
            },
            colour=QUIET,
        ),
        *_heading(_("Who is responsible")),
        *(_text(f"{owner.name} ({owner.email}), {Role.OWNER.label}") for owner in month.owners),
        _text(_("Alarms go to: %(addresses)s") % {"addresses": ", ".join(recipients()) or _("nobody")}),
        *_heading(_("What is copied")),
        _text(
            _(
                "Images and documents: %(count)d, of which %(waiting)d wait for a copy in every place. Each is copied "
                "when it arrives. The database is copied continuously, encrypted; its copies go back %(days)d days."
            )
            % {"count": month.blob_count, "waiting": month.uncopied_count, "days": settings.BACKUP_DAYS}
        ),
        *(
            _text(
                _("%(place)s: the database up to %(until)s.")
                % {
                    "place": copy.place,
                    "until": date_format(timezone.localtime(copy.shipped_until), "DATETIME_FORMAT")
                    if copy.shipped_until
                    else "-",
                }
            )
            for copy in month.copies
        ),
        *_heading(_("What was proven")),
        _text(
            _(
                "A drill restores the database from one place and the master key into an empty directory, and a sample "
                "of studies: each is decrypted, compared with its hash, parsed, every pixel decoded, and opened as the "
                "viewer does it. The studies are those of your clinic."
            ),
            colour=QUIET,
        ),
        Spacer(1, 2 * mm),
        _drills(month.proofs),
        *_heading(_("Alarms")),
    ]
    if not month.alarms:
        story.append(_text(_("None.")))
    for alarm in month.alarms:
        until = date_format(timezone.localtime(alarm.cleared_at), "DATETIME_FORMAT") if alarm.cleared_at else _("now")
        begun = date_format(timezone.localtime(alarm.raised_at), "DATETIME_FORMAT")
        story.append(_text(f"{begun} - {until}: {alarm.message}"))
    return story


def _drills(proofs: Sequence[Proof]) -> Flowable:
    if not proofs:
        return _text(_("No drill ended in this month."))
    rows: list[list[Any]] = [[_("Ended"), _("Place"), _("Result"), _("Studies"), _("Took"), _("Signature")]]
    for proof in proofs:
        result = _("Proven") if proof.has_passed else _("Failed")
        findings = "".join(f"<br/>{escape(each)}" for each in proof.findings[:MOST_FINDINGS])
        rows.append(
            [
                _text(date_format(timezone.localtime(proof.drill.finished_at), "SHORT_DATETIME_FORMAT")),
                _text(proof.drill.place),
                Paragraph(f"<b>{escape(result)}</b>{findings}", _style()),
                _text(str(proof.study_count)),
                _text(f"{proof.drill.seconds} s"),
                _text(proof.key_fingerprint[:19] if proof.is_signed else _("does not hold")),
            ]
        )
    rows[0] = [_text(str(name), is_bold=True) for name in rows[0]]
    table = Table(rows, colWidths=[34 * mm, 27 * mm, 44 * mm, 20 * mm, 14 * mm, 35 * mm], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
                ("LEFTPADDING", (0, 0), (0, -1), 0),
            ]
        )
    )
    return table


def _heading(text: str) -> list[Flowable]:
    return [Spacer(1, 6 * mm), _text(text, size=12, is_bold=True), Spacer(1, 1.5 * mm)]


def _text(text: str, *, size: float = 9, is_bold: bool = False, colour: Any = INK) -> Paragraph:
    return Paragraph(escape(text), _style(size, is_bold=is_bold, colour=colour))


def _style(size: float = 9, *, is_bold: bool = False, colour: Any = INK) -> ParagraphStyle:
    regular, bold = _fonts()
    return ParagraphStyle(
        "text", fontName=bold if is_bold else regular, fontSize=size, leading=size * 1.4, textColor=colour
    )


def _footer(canvas: Any, document: Any) -> None:
    canvas.saveState()
    canvas.setFont(_fonts()[0], 8)
    canvas.setFillColor(QUIET)
    canvas.drawString(18 * mm, 10 * mm, f"Viewbox  {settings.BASE_URL}")
    canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, str(document.page))
    canvas.restoreState()
