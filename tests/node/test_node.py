"""A client generated for @grpc/grpc-js gets the same picture as the Python client."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.rpc.live import LiveServer
from unitscope._gen.unitscope.v1 import unitscope_service_pb2
from unitscope.client import Client

HERE = Path(__file__).parent
BUILD = HERE / "build"
PARAMETERS = "client_grpc1,output_javascript,output_legacy_commonjs"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None,
        reason="node and npm are not installed",
    ),
]


@pytest.fixture(scope="module")
def generated() -> None:
    """The packages that package-lock.json names, and the stubs that their plugin makes."""
    if not (HERE / "node_modules" / ".package-lock.json").is_file():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--prefer-offline"], cwd=HERE, check=True)
    files = described(unitscope_service_pb2.DESCRIPTOR)
    request = CodeGeneratorRequest(
        file_to_generate=[file.name for file in files], parameter=PARAMETERS, proto_file=files
    )
    plugin = HERE / "node_modules" / ".bin" / "protoc-gen-ts"
    run = subprocess.run(
        [plugin], input=request.SerializeToString(), capture_output=True, check=True
    )
    response = CodeGeneratorResponse.FromString(run.stdout)
    assert not response.error
    for file in response.file:
        path = BUILD / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)


def described(file: FileDescriptor) -> list[FileDescriptorProto]:
    """A file of the contract after the files it imports, as protoc would describe them."""
    found: dict[str, FileDescriptorProto] = {}
    for imported in file.dependencies:
        found |= {proto.name: proto for proto in described(imported)}
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return [*found.values(), proto]


@pytest.mark.usefixtures("generated")
def test_node_gets_the_picture(live: LiveServer, client: Client, tmp_path: Path) -> None:
    picture = tmp_path / "node.png"
    command = ["node", str(HERE / "client.js"), live.target, str(picture)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"label": "cat", "steps": 5}
    assert picture.read_bytes() == client.maximize(2, model="small", steps=5, seed=3).image
