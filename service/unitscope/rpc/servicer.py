"""The service: convert, call, convert."""

# ruff: noqa: ARG002, N802  the contract names the methods and their arguments

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc

from unitscope._gen.unitscope.v1 import attribute_pb2, maximize_pb2, model_pb2
from unitscope._gen.unitscope.v1.unitscope_service_pb2_grpc import UnitscopeServiceServicer
from unitscope.engine.request import Caller, Maximization, MaximizeRequest, Progress
from unitscope.engine.service import Service
from unitscope.engine.ticket import Ticket
from unitscope.errors import ModelControlOff
from unitscope.rpc import convert, convert_attribute, convert_model
from unitscope.rpc.caller import caller_of
from unitscope.rpc.pages import paginate

Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(UnitscopeServiceServicer):
    """Answers from a service. What can take time runs on a thread beside the event loop."""

    def __init__(self, service: Service, *, may_control_models: bool) -> None:
        self._service = service
        self._may_control_models = may_control_models

    async def Maximize(
        self, request: maximize_pb2.MaximizeRequest, context: Context
    ) -> maximize_pb2.MaximizeResponse:
        """The finished picture."""
        caller = replace(caller_of(context), progress_every_steps=0)
        async with self._submitted(convert.from_request(request), caller) as ticket:
            async for event in ticket.aevents():
                if isinstance(event, Maximization):
                    return convert.to_maximization(event)
        raise RuntimeError(f"request {ticket.request_id} ended without a result")

    async def StreamMaximize(
        self, request: maximize_pb2.StreamMaximizeRequest, context: Context
    ) -> AsyncIterator[maximize_pb2.StreamMaximizeResponse]:
        """Accepted, progress at the caller's cadence, the finished picture."""
        asked, every = convert.from_stream_request(request)
        next_step = every
        caller = replace(caller_of(context), progress_every_steps=every)
        async with self._submitted(asked, caller) as ticket:
            async for event in ticket.aevents():
                if isinstance(event, Progress):
                    if event.preview is None and event.step < min(next_step, event.steps):
                        continue
                    next_step = (event.step // every + 1) * every
                yield convert.to_event(event)

    async def Attribute(
        self, request: attribute_pb2.AttributeRequest, context: Context
    ) -> attribute_pb2.AttributeResponse:
        """Which pixels of a given picture count."""
        ticket = self._service.attribute(convert_attribute.from_request(request))
        try:
            return convert_attribute.to_response(await asyncio.wrap_future(ticket.future))
        finally:
            ticket.cancel()

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsResponse:
        """A page of the models."""
        page = paginate(
            self._service.models.catalogue(),
            listing="models",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return model_pb2.ListModelsResponse(
            models=map(convert_model.to_model, page.items), next_page_token=page.next_page_token
        )

    async def GetModel(
        self, request: model_pb2.GetModelRequest, context: Context
    ) -> model_pb2.GetModelResponse:
        """One model."""
        info = await asyncio.to_thread(
            self._service.models.info, request.model, request.model_version
        )
        return model_pb2.GetModelResponse(model=convert_model.to_model(info))

    async def ListLayers(
        self, request: model_pb2.ListLayersRequest, context: Context
    ) -> model_pb2.ListLayersResponse:
        """A page of the layers of a model."""
        info, layers = await asyncio.to_thread(
            self._service.models.layers, request.model, request.model_version
        )
        page = paginate(
            layers,
            listing=f"layers of {info.name} {info.sha256}",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return model_pb2.ListLayersResponse(
            layers=map(convert_model.to_layer, page.items), next_page_token=page.next_page_token
        )

    async def LoadModel(
        self, request: model_pb2.LoadModelRequest, context: Context
    ) -> model_pb2.LoadModelResponse:
        """A model, loaded."""
        self._check_control()
        info = await asyncio.to_thread(
            self._service.models.load, request.model, request.model_version
        )
        return model_pb2.LoadModelResponse(model=convert_model.to_model(info))

    async def UnloadModel(
        self, request: model_pb2.UnloadModelRequest, context: Context
    ) -> model_pb2.UnloadModelResponse:
        """Nothing, once no request is given the model any more."""
        self._check_control()
        await asyncio.to_thread(self._service.models.unload, request.model, request.model_version)
        return model_pb2.UnloadModelResponse()

    def _check_control(self) -> None:
        if not self._may_control_models:
            raise ModelControlOff

    @asynccontextmanager
    async def _submitted(self, request: MaximizeRequest, caller: Caller) -> AsyncIterator[Ticket]:
        """A ticket that is cancelled when its RPC ends, for whatever reason."""
        submitting = asyncio.create_task(asyncio.to_thread(self._service.submit, request, caller))
        try:
            ticket = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(_cancel_ticket)
            raise
        try:
            yield ticket
        finally:
            ticket.cancel()


def _cancel_ticket(submitting: asyncio.Task[Ticket]) -> None:
    """The caller went away while the request was being submitted."""
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()
