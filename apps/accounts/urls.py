"""The pages of accounts and what each asks for."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
