"""Django admin is open to the networks that the operator names, and to nobody else (ADM-01)."""

from ipaddress import ip_network

import pytest
from django.test import Client
from pytest_django import Settings


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("10.0.0.0/8", 404), ("::1/128", 404)])
def test_the_admin_opens_in_the_named_networks_only_ADM_01(
    as_platform_admin: Client, settings: Settings, network: str, status: int
) -> None:
    settings.ADMIN_NETWORKS = [ip_network(network)]
    assert as_platform_admin.get("/admin/").status_code == status
    assert as_platform_admin.get("/sign-in/").status_code != 404


def test_strangers_learn_nothing_of_an_admin_elsewhere_ADM_01(db: None, settings: Settings) -> None:
    settings.ADMIN_NETWORKS = [ip_network("10.0.0.0/8")]
    assert Client().get("/admin/").status_code == 404
