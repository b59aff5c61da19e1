"""DICOMweb (PS3.18) of a clinic and of a share link."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
