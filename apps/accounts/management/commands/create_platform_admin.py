"""manage.py create_platform_admin: the one-time address by which the installation's first admin comes in (AUTH-14)."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email

from apps.accounts.services import invite_platform_admin
from apps.audit.services import Context


class Command(BaseCommand):
    """`manage.py create_platform_admin EMAIL`."""

    help = "Print a one-time address, good for 30 minutes, by which a platform admin opens an account."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the e-mail address."""
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the invitation and print its address."""
        try:
            validate_email(options["email"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(invite_platform_admin(options["email"], context=Context.system("create_platform_admin")))
