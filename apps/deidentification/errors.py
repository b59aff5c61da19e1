"""Why something is not released."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _


class DeidentificationError(Exception):
    """Base: `code` for programs, `message` for people."""

    code = "deidentification"
    message = _("This cannot be anonymised.")

    def __init__(self) -> None:
        super().__init__(str(self.message))


class UnreviewedError(DeidentificationError):
    """Images of these studies wait for a person."""

    code = "needs-review"
    message = _(
        "Some images of this study may show text that names somebody. A person of the clinic has to look at them "
        "before an anonymised copy can be given away."
    )


class CopyNotReadyError(DeidentificationError):
    """The anonymised copy is still being made, or waits for a person."""

    code = "not-ready"
    message = _("The anonymised images are being prepared. Please try again in a few minutes.")


class DecisionRefusedError(DeidentificationError):
    """A decision that cannot be carried out: boxes outside the image, or approving what cannot be cleaned."""

    code = "bad-decision"
    message = _("This decision cannot be carried out.")
