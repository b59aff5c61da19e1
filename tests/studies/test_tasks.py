import pytest
from django.db import connection

from apps.clinics.models import Clinic
from apps.studies.models import Study
from apps.studies.tasks import refresh_statistics
from tests.studies.files import index, part10


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps its statistics itself")
def test_sqlite_learns_which_index_finds_an_accession_number(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, *[part10(f"ct{n}", study=f"s{n}", series=f"e{n}", AccessionNumber=f"A{n}") for n in range(12)])
    refresh_statistics()
    plan = Study.objects.filter(accession_number="A7").order_by("-listed_at", "-pk")[:50].explain()
    assert "study_by_accession" in plan
