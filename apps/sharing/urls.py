"""The pages of sharing and what each asks for."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
