"""manage.py create_api_token: prints a bearer token, once, and nothing else on stdout."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.roles import Scope
from apps.accounts.services import create_api_token
from apps.accounts.tokens import DEFAULT_DAYS
from apps.audit.services import Context
from apps.clinics.models import Clinic


class Command(BaseCommand):
    """`manage.py create_api_token --clinic SLUG --scopes read,write [--days N] [--name NAME]`."""

    help = "Print a new bearer token of a clinic. It is shown this once; only its hash is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the clinic, the scopes and the lifetime."""
        parser.add_argument("--clinic", required=True, help="short name of the clinic")
        parser.add_argument("--scopes", required=True, help=f"comma-separated: {', '.join(Scope.values)}")
        parser.add_argument("--days", type=int, default=DEFAULT_DAYS, help="days until it expires (default: 365)")
        parser.add_argument("--name", default="manage.py", help="what it is for")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the token and print its secret."""
        clinic = Clinic.objects.filter(slug=options["clinic"]).first()
        if clinic is None:
            raise CommandError(f"There is no clinic {options['clinic']!r}.")
        if options["days"] < 1:
            raise CommandError("--days must be 1 or more.")
        names = [name.strip() for name in options["scopes"].split(",") if name.strip()]
        unknown = set(names) - set(Scope.values)
        if unknown or not names:
            raise CommandError(f"--scopes takes {', '.join(Scope.values)}, separated by commas.")
        _token, secret = create_api_token(
            clinic,
            [Scope(name) for name in names],
            name=options["name"],
            days=options["days"],
            context=Context.system("create_api_token"),
        )
        self.stdout.write(secret)
