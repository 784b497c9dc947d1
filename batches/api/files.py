"""A whole file in one request: as its body, or in a form."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from batches import intake
from batches.api import access, body, describe, digests, limits, shapes
from batches.api.serializers import FileShape
from batches.api.views import BatchView
from files.models import Way
from vehicles.api.authentication import TokenAuthentication


def sender(request: Request) -> UUID:
    """The vehicle that sends: only a vehicle's token has the right."""
    vehicle = access.vehicle_of(request)
    assert vehicle is not None
    return vehicle.pk


class FileByForm(BatchView):
    """Files by multipart form."""

    # Tokens only: the session's CSRF check would read the form before the view can stream it.
    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]
    needs: ClassVar = {"POST": access.SEND}

    @extend_schema(
        operation_id="postFile",
        summary="Send a file as a multipart form",
        request=describe.FORM,
        parameters=[describe.KIND],
        responses={201: FileShape, **describe.problems(400, 404, 408, 409, 410, 411, 413, 415, 422, 423, 429, 507)},
    )
    @limits.one_upload
    def post(self, request: Request, batch_id: UUID) -> Response:
        """The form has one field, `file`. Several files of a batch may have one name. PUT is better for large files."""
        part = body.MultipartFile(request._request)
        offer = intake.Offer(part.name, body.kind(request._request), way=Way.FORM)
        file, _ = intake.take_file(batch_id, offer, part.chunks(), vehicle_id=sender(request), actor=access.actor_of(request))
        return Response(shapes.of_file(vars(file)), status=201)


class FileByName(BatchView):
    """Files as they are."""

    authentication_classes: ClassVar[list[type[BaseAuthentication]]] = [TokenAuthentication]  # type: ignore[misc]
    needs: ClassVar = {"PUT": access.SEND}

    @extend_schema(
        operation_id="putFile",
        summary="Send a file as the body of the request",
        request=describe.BYTES,
        parameters=describe.DIGESTS,
        responses={200: FileShape, 201: FileShape, **describe.problems(404, 408, 409, 410, 411, 413, 415, 422, 423, 429, 507)},
    )
    @limits.one_upload
    def put(self, request: Request, batch_id: UUID, name: str) -> Response:
        """The same file under the same name is answered with 200 and stored once; another one is refused."""
        plain = request._request
        source = body.Body(plain, intake.largest_file())
        offer = intake.Offer(name, body.kind(plain), source.declared, body.announced_sha256(plain), Way.PUT)
        file, is_new = intake.take_file(
            batch_id,
            offer,
            source.chunks(),
            vehicle_id=sender(request),
            checksum=digests.of_body(plain.META),
            actor=access.actor_of(request),
        )
        return Response(shapes.of_file(vars(file)), status=201 if is_new else 200)
