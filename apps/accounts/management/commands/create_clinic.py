"""manage.py create_clinic: a clinic with keys and plan, and the one-time address for its first owner."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction

from apps.accounts.invitations import VALID_FOR
from apps.accounts.roles import Role
from apps.accounts.services import found_clinic, invite
from apps.audit.services import Context
from apps.clinics.scoping import clinic_scope


class Command(BaseCommand):
    """`manage.py create_clinic SLUG --name NAME --owner EMAIL [--locale en] [--time-zone UTC]`."""

    help = "Create a clinic and print a one-time invitation address for its owner."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the clinic's short name, its full name, and who owns it."""
        parser.add_argument("slug", help="short name, as it will stand in addresses: /c/SLUG/")
        parser.add_argument("--name", required=True, help="the clinic's full name")
        parser.add_argument("--owner", required=True, help="e-mail address of the first owner")
        parser.add_argument("--locale", default="en", help="en or de; chooses the price list too")
        parser.add_argument("--time-zone", default="UTC", help="for example Europe/Berlin")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create everything or nothing, and print the address."""
        context = Context.system("create_clinic")
        try:
            validate_email(options["owner"])
            with transaction.atomic():
                clinic = found_clinic(
                    options["slug"],
                    options["name"],
                    context=context,
                    locale=options["locale"],
                    time_zone=options["time_zone"],
                )
                with clinic_scope(clinic):
                    url = invite(clinic, options["owner"], Role.OWNER, context=context)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(url)
        self.stderr.write(f"The address works once, within {VALID_FOR.days} days. Give it to {options['owner']}.")
