"""Addresses of the batch API."""

from django.urls import path, register_converter

from batches.api import direct, files, tus, views


class AnyText:
    """A file name as it was sent, slashes, line breaks and nothing at all included: names are judged by their rules, not by the routing."""

    regex = r"[\s\S]*"

    def to_python(self, value: str) -> str:
        """As it is."""
        return value

    def to_url(self, value: str) -> str:
        """As it is."""
        return value


register_converter(AnyText, "any_text")

urlpatterns = [
    path("batches", views.BatchList.as_view(), name="batches"),
    path("batches/<uuid:batch_id>", views.BatchDetail.as_view(), name="batch"),
    path("batches/<uuid:batch_id>/complete", views.BatchComplete.as_view(), name="batch-complete"),
    path("batches/<uuid:batch_id>/abandon", views.BatchAbandon.as_view(), name="batch-abandon"),
    path("batches/<uuid:batch_id>/progress", views.BatchProgress.as_view(), name="batch-progress"),
    path("batches/<uuid:batch_id>/findings", views.BatchFindings.as_view(), name="batch-findings"),
    path("batches/<uuid:batch_id>/files", files.FileByForm.as_view(), name="batch-files"),
    path("batches/<uuid:batch_id>/files/<any_text:name>", files.FileByName.as_view(), name="batch-file"),
    path("batches/<uuid:batch_id>/uploads", tus.UploadList.as_view(), name="batch-uploads"),
    path("batches/<uuid:batch_id>/uploads/direct", direct.DirectUploadList.as_view(), name="batch-uploads-direct"),
    path("uploads/<uuid:upload_id>/parts", direct.DirectUploadParts.as_view(), name="upload-parts"),
    path("uploads/<uuid:upload_id>/complete", direct.DirectUploadComplete.as_view(), name="upload-complete"),
    path("uploads/<uuid:upload_id>", tus.UploadDetail.as_view(), name="upload"),
]
