from unitscope._gen.unitscope.v1 import attribute_pb2 as _attribute_pb2
from unitscope._gen.unitscope.v1 import maximize_pb2 as _maximize_pb2
from unitscope._gen.unitscope.v1 import model_pb2 as _model_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
