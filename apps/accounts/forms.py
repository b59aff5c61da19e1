"""The forms of the people room. They check shapes; what is allowed is decided by the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from apps.accounts.passwords import PasswordPolicy, check_policy, help_text
from apps.accounts.roles import Role, Scope


def _password(autocomplete: str) -> forms.PasswordInput:
    return forms.PasswordInput(attrs={"autocomplete": autocomplete})


class SignInForm(forms.Form):
    """E-mail address and password."""

    email = forms.CharField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(label=_("Password"), max_length=256, strip=False, widget=_password("current-password"))


class CodeForm(forms.Form):
    """A code of an authenticator, or a recovery code."""

    code = forms.CharField(
        label=_("Code"),
        max_length=40,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false", "autocapitalize": "none"}
        ),
    )


class EnrolForm(CodeForm):
    """The first code of a new authenticator, and what the person calls it."""

    name = forms.CharField(
        label=_("Name of this device"),
        max_length=64,
        help_text=_("So that you recognise it later, for example: my phone."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    field_order = ("name", "code")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autofocus"] = True
        del self.fields["code"].widget.attrs["autofocus"]


class NewPasswordForm(forms.Form):
    """A new password, typed twice."""

    password = forms.CharField(label=_("New password"), max_length=256, strip=False, widget=_password("new-password"))
    repeated = forms.CharField(label=_("The same again"), max_length=256, strip=False, widget=_password("new-password"))

    def __init__(self, *args: Any, policy: PasswordPolicy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.policy = policy
        self.fields["password"].help_text = help_text(policy)

    def clean(self) -> dict[str, Any]:
        """Report what the policy says at the password itself."""
        cleaned = super().clean() or {}
        password, repeated = cleaned.get("password"), cleaned.get("repeated")
        if password and repeated and password != repeated:
            self.add_error("repeated", _("The two are not the same."))
        if password:
            try:
                check_policy(self.policy, password)
            except ValidationError as error:
                self.add_error("password", error)
        return cleaned


class InvitedForm(NewPasswordForm):
    """What an invited person tells about themselves."""

    name = forms.CharField(
        label=_("Your name"), max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True})
    )
    field_order = ("name", "password", "repeated")


class ChangePasswordForm(NewPasswordForm):
    """The present password and a new one."""

    current = forms.CharField(
        label=_("Present password"), max_length=256, strip=False, widget=_password("current-password")
    )
    field_order = ("current", "password", "repeated")


class ResetForm(forms.Form):
    """Whose password is to be set anew."""

    email = forms.EmailField(
        label=_("E-mail address"), widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )


class RoleForm(forms.Form):
    """A place in the clinic."""

    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.PHYSICIAN)
    is_limited = forms.BooleanField(
        label=_("Only some patients or studies"),
        required=False,
        help_text=_("For physicians. You choose which when the person has joined."),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a limit for roles that see no studies, or everything."""
        cleaned = super().clean() or {}
        if cleaned.get("is_limited") and cleaned.get("role") != Role.PHYSICIAN:
            self.add_error("is_limited", _("Only physicians can be limited."))
        return cleaned


class InviteForm(RoleForm):
    """Whom to invite as what."""

    email = forms.EmailField(label=_("E-mail address"), widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    field_order = ("email", "role", "is_limited")


class GrantForm(forms.Form):
    """A patient or study that a limited member may see."""

    address = forms.CharField(
        label=_("Address of a patient or study page"),
        max_length=500,
        help_text=_("Open the page, copy its address from the browser and paste it here."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "url"}),
    )


class TokenForm(forms.Form):
    """What a new token is for."""

    name = forms.CharField(
        label=_("What is it for?"), max_length=100, help_text=_("For example: CT in room 2, migration script.")
    )
    scopes = forms.MultipleChoiceField(
        label=_("It may"), choices=Scope.choices, widget=forms.CheckboxSelectMultiple, initial=[Scope.READ]
    )
    days = forms.IntegerField(label=_("Days until it expires"), min_value=1, max_value=730, initial=365)
