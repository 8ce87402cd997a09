"""The URLs."""

from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("buy", views.buy),
    path("kraty/webhook", views.kraty_webhook),
]
