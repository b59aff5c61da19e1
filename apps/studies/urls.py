"""The pages of studies and what each asks for."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
