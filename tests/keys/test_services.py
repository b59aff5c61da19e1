"""Keys open only what they closed: one clinic, one purpose, one context, one master."""

import base64
import secrets
import time

import pytest
from django_scopes.exceptions import ScopeError
from pytest_django import DjangoAssertNumQueries, Settings

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.keys import services
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.keys.models import ClinicKey, InstallationKey
from apps.keys.services import (
    check_master_key,
    create_clinic_key,
    forget_clinic_keys,
    keyed_digest,
    open_secret,
    seal_secret,
    unwrap_data_key,
    wrap_data_key,
    wrap_data_keys,
)

DATA_KEY = secrets.token_bytes(32)
OTHER_MASTER = base64.b64encode(bytes(32)).decode()


def test_wrapped_data_key_comes_back(in_clinic_a: Clinic) -> None:
    wrapped = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob 1")
    assert DATA_KEY not in wrapped.wrapped
    assert unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob 1") == DATA_KEY


def test_many_are_wrapped_in_order_with_one_query(
    in_clinic_a: Clinic, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    keys = [(secrets.token_bytes(32), f"blob {number}".encode()) for number in range(20)]
    with django_assert_num_queries(1):
        wrapped = wrap_data_keys(in_clinic_a.pk, keys)
    opened = [
        unwrap_data_key(in_clinic_a.pk, each.clinic_key_id, each.wrapped, context)
        for each, (_, context) in zip(wrapped, keys, strict=True)
    ]
    assert opened == [key for key, _ in keys]


def test_same_key_is_never_wrapped_to_the_same_bytes_ENC_04(in_clinic_a: Clinic) -> None:
    wrapped = {wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob").wrapped for _ in range(100)}
    assert len({each[1:13] for each in wrapped}) == 100


def test_wrapped_key_opens_in_its_own_context_only_ENC_02(in_clinic_a: Clinic) -> None:
    wrapped = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob 1")
    with pytest.raises(SealBrokenError):
        unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob 2")


def test_every_changed_bit_of_a_wrapped_key_is_noticed(in_clinic_a: Clinic) -> None:
    wrapped = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob 1")
    for at in range(len(wrapped.wrapped)):
        bad = bytearray(wrapped.wrapped)
        bad[at] ^= 1 << at % 8
        with pytest.raises(SealBrokenError):
            unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, bytes(bad), b"blob 1")
    for length in range(len(wrapped.wrapped)):
        with pytest.raises(SealBrokenError):
            unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped[:length], b"blob 1")


def test_quarantine_has_a_key_of_its_own(in_clinic_a: Clinic) -> None:
    held = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob", is_quarantined=True)
    stored = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob")
    assert held.clinic_key_id != stored.clinic_key_id
    with pytest.raises(SealBrokenError):
        unwrap_data_key(in_clinic_a.pk, stored.clinic_key_id, held.wrapped, b"blob")


def test_clinic_cannot_use_the_key_of_another(clinic_a: Clinic, clinic_b: Clinic) -> None:
    with clinic_scope(clinic_a):
        wrapped = wrap_data_key(clinic_a.pk, DATA_KEY, b"blob")
    with clinic_scope(clinic_b):
        # Its key is in this process's memory now, and still not to be had: neither by its owner's name ...
        with pytest.raises(ScopeError):
            unwrap_data_key(clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob")
        # ... nor as one's own.
        with pytest.raises(KeyUnavailableError):
            unwrap_data_key(clinic_b.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob")
        with pytest.raises(ScopeError):
            wrap_data_key(clinic_a.pk, DATA_KEY, b"blob")


def test_wrapped_clinic_key_moved_to_another_clinic_does_not_open(clinic_a: Clinic, clinic_b: Clinic) -> None:
    with every_clinic():
        key_a, key_b = (ClinicKey.objects.get(clinic=clinic, purpose="stored") for clinic in (clinic_a, clinic_b))
        ClinicKey.objects.filter(pk=key_b.pk).update(wrapped=key_a.wrapped)
        with pytest.raises(SealBrokenError):
            wrap_data_key(clinic_b.pk, DATA_KEY, b"blob")


def test_missing_clinic_keys_are_made_on_first_use_and_once(in_clinic_a: Clinic) -> None:
    ClinicKey.objects.all().delete()
    first = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob")
    assert wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob").clinic_key_id == first.clinic_key_id
    create_clinic_key(in_clinic_a)
    create_clinic_key(in_clinic_a)
    assert sorted(ClinicKey.objects.values_list("purpose", flat=True)) == ["quarantine", "stored"]


def test_wrong_master_is_recognised_and_changes_nothing_ENC_09(in_clinic_a: Clinic, settings: Settings) -> None:
    wrapped = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob")
    before = sorted(ClinicKey.objects.values_list("pk", "wrapped", "master_fingerprint"))
    forget_clinic_keys()
    settings.MASTER_KEY = OTHER_MASTER
    attempts = [
        check_master_key,
        lambda: wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob"),
        lambda: unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob"),
    ]
    for attempt in attempts:
        with pytest.raises(KeyUnavailableError, match="put the right one back"):
            attempt()
    assert sorted(ClinicKey.objects.values_list("pk", "wrapped", "master_fingerprint")) == before


def test_wrong_master_makes_no_keys_for_a_new_clinic_either_ENC_09(
    clinic_a: Clinic, clinic_b: Clinic, settings: Settings
) -> None:
    with clinic_scope(clinic_b):
        ClinicKey.objects.all().delete()
        settings.MASTER_KEY = OTHER_MASTER
        with pytest.raises(KeyUnavailableError):
            create_clinic_key(clinic_b)
        assert not ClinicKey.objects.all().exists()


def test_right_master_passes_the_check(clinic_a: Clinic) -> None:
    check_master_key()


def test_destroyed_clinic_key_opens_nothing(in_clinic_a: Clinic) -> None:
    wrapped = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob")
    forget_clinic_keys()
    ClinicKey.objects.filter(pk=wrapped.clinic_key_id).update(wrapped=None)
    with pytest.raises(KeyUnavailableError, match="gone"):
        unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob")


def test_opened_clinic_key_is_kept_for_minutes_only(
    in_clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    wrapped = wrap_data_key(in_clinic_a.pk, DATA_KEY, b"blob")

    def unwrap() -> bytes:
        return unwrap_data_key(in_clinic_a.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob")

    start = time.monotonic()
    with django_assert_num_queries(0):
        unwrap()
    monkeypatch.setattr(services.time, "monotonic", lambda: start + services.CACHE_SECONDS + 1)
    with django_assert_num_queries(1):
        unwrap()
    with django_assert_num_queries(0):
        unwrap()


def test_sealed_secret_opens_for_its_purpose_only_AUTH_04(db: None) -> None:
    sealed = seal_secret("totp-seed:1", b"seed")
    assert b"seed" not in sealed
    assert open_secret("totp-seed:1", sealed) == b"seed"
    assert seal_secret("totp-seed:1", b"seed") != sealed
    with pytest.raises(SealBrokenError):
        open_secret("totp-seed:2", sealed)


def test_changed_secret_is_refused(db: None) -> None:
    sealed = seal_secret("purpose", b"seed")
    for at in range(8, len(sealed)):
        bad = bytearray(sealed)
        bad[at] ^= 1
        with pytest.raises(SealBrokenError):
            open_secret("purpose", bytes(bad))
    for length in (0, 8):
        with pytest.raises(SealBrokenError):
            open_secret("purpose", sealed[:length])


def test_secret_of_another_master_names_the_fix_ENC_09(db: None, settings: Settings) -> None:
    sealed = seal_secret("purpose", b"seed")
    forget_clinic_keys()
    settings.MASTER_KEY = OTHER_MASTER
    for attempt in (lambda: open_secret("purpose", sealed), lambda: keyed_digest("one", b"data")):
        with pytest.raises(KeyUnavailableError, match="put the right one back"):
            attempt()


def test_keyed_digest_depends_on_data_purpose_and_installation(db: None) -> None:
    digests = [keyed_digest("one", b"data"), keyed_digest("two", b"data"), keyed_digest("one", b"date")]
    assert keyed_digest("one", b"data") == digests[0]
    InstallationKey.objects.all().delete()
    forget_clinic_keys()
    digests.append(keyed_digest("one", b"data"))
    assert len(set(digests)) == 4
    assert {len(digest) for digest in digests} == {32}
