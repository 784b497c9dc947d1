"""All addresses."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from argus_site.health import healthz

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("healthz", healthz, name="healthz"),
    path("api/v1/schema", SpectacularAPIView.as_view(api_version="v1"), name="schema"),
    path("api/v1/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="api-docs"),
    path("api/v1/", include("vehicles.api.urls")),
    path("api/v1/", include("batches.api.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "argus_site.problems.bad_request"
handler403 = "argus_site.problems.permission_denied"
handler404 = "argus_site.problems.page_not_found"
handler500 = "argus_site.problems.server_error"
