"""The batch API: each view authorises, makes one call and shapes one answer."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from batches import closing, intake, opening, queries
from batches.api import access, body, describe, shapes
from batches.api.idempotency import idempotent, once
from batches.api.paging import NewestFirst
from batches.api.serializers import Abandonment, BatchPage, BatchWithFiles, Completion, Findings, ListQuery, NewBatch, Progress
from batches.models import Batch
from common.errors import NotFound
from common.json_api import AlwaysJSON
from vehicles.api.access import HasRight
from vehicles.api.authentication import TokenAuthentication

NOBODY = UUID(int=0)


class BatchView(APIView):
    """What all views share: rights by method, JSON in and out, only batches that the caller may see."""

    permission_classes: ClassVar[list[type[BasePermission]]] = [HasRight]  # type: ignore[misc]
    parser_classes: ClassVar[list[Any]] = [body.LimitedJSONParser]  # type: ignore[misc]
    content_negotiation_class = AlwaysJSON
    needs: ClassVar[dict[str, access.Needs]] = {}

    def batch(self, request: Request, batch_id: UUID) -> Batch:
        """The batch, if the caller may see it; NotFound."""
        return queries.get_batch(batch_id, access.vehicle_of(request))

    def shown(self, request: Request, batch: Batch) -> dict[str, Any]:
        """The batch as the caller may see it, with its files and uploads."""
        return shapes.with_files(batch, vin=access.sees_vin(request), uploads_at=uploads_at(request))

    def checked(self, request: Request, shape: type[Any]) -> dict[str, Any]:
        """The body as `shape` reads it. Raises UnknownField, InvalidField, MalformedBody, LengthRequired, BodyTooLarge."""
        body.need_length(request._request)
        serializer = shape(data=request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """The methods, in the Allow header."""
        return Response(status=204)


def address_of(request: Request, batch: Batch) -> str:
    """Where the batch is."""
    return reverse("batch", kwargs={"batch_id": batch.pk}, request=request)


def uploads_at(request: Request) -> str:
    """What the id of an upload is appended to: asked once, and not for each of 50,000."""
    return str(reverse("upload", kwargs={"upload_id": NOBODY}, request=request)).removesuffix(str(NOBODY))


class BatchList(BatchView):
    """The batches."""

    needs: ClassVar = {"GET": access.READ, "POST": access.CREATE}

    @extend_schema(
        operation_id="listBatches",
        summary="List batches, the newest first",
        parameters=[ListQuery],
        responses={200: BatchPage, **describe.problems(400, 422)},
    )
    def get(self, request: Request) -> Response:
        """A vehicle sees its own, an integration with `batch:read` every vehicle's."""
        query = ListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        vin = access.sees_vin(request)
        if "vin" in query.validated_data and not vin:
            raise PermissionDenied("You may not look for vehicles by VIN.")
        batches = queries.filtered(queries.visible(access.vehicle_of(request)), query.validated_data)
        pages = NewestFirst()
        page = pages.paginate_queryset(batches, request, view=self) or []
        return pages.get_paginated_response([shapes.of_batch(batch, vin=vin) for batch in page])

    @extend_schema(
        operation_id="openBatch",
        summary="Open a batch",
        request=NewBatch,
        parameters=[describe.IDEMPOTENCY_KEY],
        responses={201: BatchWithFiles, **describe.problems(400, 409, 411, 413, 415, 422)},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """It belongs to the vehicle of the token. Its address stands in Location."""
        vehicle = access.vehicle_of(request)
        assert vehicle is not None  # only a vehicle's token has the right
        wanted = self.checked(request, NewBatch)
        files = wanted.pop("files", None)
        batch = opening.open_batch(vehicle, wanted, files, actor=access.actor_of(request))
        return Response(self.shown(request, batch), status=201, headers={"Location": address_of(request, batch)})


class BatchDetail(BatchView):
    """One batch."""

    needs: ClassVar = {"GET": access.READ, "PUT": access.CREATE, "DELETE": access.DELETE}

    @extend_schema(
        operation_id="getBatch",
        summary="Get a batch with its files",
        parameters=[describe.IF_NONE_MATCH],
        responses={200: BatchWithFiles, 304: OpenApiResponse(description="nothing has changed"), **describe.problems(404)},
    )
    def get(self, request: Request, batch_id: UUID) -> Response:
        """The ETag is made of everything but `server_time`."""
        shape = self.shown(request, self.batch(request, batch_id))
        lasting = {name: value for name, value in shape.items() if name != "server_time"}
        etag = f'W/"{hashlib.sha256(json.dumps(lasting, cls=JSONEncoder).encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
        known = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
        # Weak comparison: the client may have lost the W/ on the way.
        if known == ["*"] or etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in known}:
            return Response(status=304, headers=headers)
        return Response(shape, headers=headers)

    @extend_schema(
        operation_id="openBatchAs",
        summary="Open a batch under an id of the vehicle's own making",
        request=NewBatch,
        responses={200: BatchWithFiles, 201: BatchWithFiles, **describe.problems(400, 404, 409, 410, 411, 413, 415, 422)},
    )
    def put(self, request: Request, batch_id: UUID) -> Response:
        """The id is a UUID of version 4 or 7. Said again with the same content, it answers 200 with the batch as it is."""
        vehicle = access.vehicle_of(request)
        assert vehicle is not None  # only a vehicle's token has the right
        wanted = self.checked(request, NewBatch)
        files = wanted.pop("files", None)
        batch, is_new = opening.open_batch_as(batch_id, vehicle, wanted, files, actor=access.actor_of(request))
        return Response(self.shown(request, batch), status=201 if is_new else 200, headers={"Location": address_of(request, batch)})

    @extend_schema(
        operation_id="deleteBatch",
        summary="Delete a batch with its files and results",
        responses={204: OpenApiResponse(description="gone, now or before"), **describe.problems(404)},
    )
    def delete(self, request: Request, batch_id: UUID) -> Response:
        """A running batch is stopped first. May be said again, also after an error."""
        try:
            intake.delete_batch(batch_id, actor=access.actor_of(request))
        except NotFound:
            if not queries.was_deleted(batch_id):
                raise
        return Response(status=204)


class BatchComplete(BatchView):
    """The end of the upload."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]
    needs: ClassVar = {"POST": access.COMPLETE}

    @extend_schema(
        operation_id="completeBatch",
        summary="Say that everything has been sent",
        request=Completion,
        parameters=[describe.IDEMPOTENCY_KEY],
        responses={202: BatchWithFiles, **describe.problems(400, 404, 411, 413, 415, 422), **describe.FILES_PENDING},
    )
    @idempotent
    def post(self, request: Request, batch_id: UUID) -> Response:
        """Starts the processing. With a list of files it is refused unless exactly these have arrived. May be said again."""
        wanted = self.checked(request, Completion)
        self.batch(request, batch_id)
        closing.complete_batch(batch_id, wanted.get("files"), wanted.get("expected_workers"), actor=access.actor_of(request))
        return Response(self.shown(request, self.batch(request, batch_id)), status=202)


class BatchAbandon(BatchView):
    """The end of an upload that will not be."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]
    needs: ClassVar = {"POST": access.COMPLETE}

    @extend_schema(
        operation_id="abandonBatch",
        summary="Say that the files will not come",
        request=Abandonment,
        parameters=[describe.IDEMPOTENCY_KEY],
        responses={200: BatchWithFiles, **describe.problems(400, 404, 409, 411, 413, 415, 422)},
    )
    def post(self, request: Request, batch_id: UUID) -> Response | HttpResponse:
        """For a vehicle that lost its files. What was on its way ends, what has arrived stays. Not past `pending`; may be said again."""
        reason = self.checked(request, Abandonment).get("reason", "")
        self.batch(request, batch_id)

        def abandon() -> Response:
            closing.abandon_batch(batch_id, reason, actor=access.actor_of(request))
            return Response(self.shown(request, self.batch(request, batch_id)))

        answer = once(self, request, reason.encode(), abandon)
        closing.discard_ended(batch_id)
        return answer


class BatchProgress(BatchView):
    """How far a batch is."""

    needs: ClassVar = {"GET": access.READ}

    @extend_schema(operation_id="getProgress", summary="Get how far a batch is", responses={200: Progress, **describe.problems(404)})
    def get(self, request: Request, batch_id: UUID) -> Response:
        """Cheap enough to be asked every second."""
        return Response(shapes.of_progress(self.batch(request, batch_id)))


class BatchFindings(BatchView):
    """What the diagnosis found."""

    needs: ClassVar = {"GET": access.READ}

    @extend_schema(operation_id="getFindings", summary="Get the findings of a batch", responses={200: Findings, **describe.problems(404)})
    def get(self, request: Request, batch_id: UUID) -> Response:
        """The worst first; empty until the batch is completed. Times are nanoseconds since 1970."""
        return Response(shapes.of_findings(self.batch(request, batch_id)))
