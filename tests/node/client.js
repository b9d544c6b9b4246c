// Asks the server at argv[2] for a picture, once in one go and once as a stream; writes the picture
// to argv[3] and says as JSON what came.
"use strict";

const assert = require("node:assert/strict");
const { writeFileSync } = require("node:fs");
const { promisify } = require("node:util");
const { credentials, status } = require("@grpc/grpc-js");

const { ImageFormat } = require("./build/unitscope/v1/maximize");
const { MaximizeRequest, StreamMaximizeRequest } = require("./build/unitscope/v1/maximize");
const {
  UnitscopeServiceClient,
} = require("./build/unitscope/v1/unitscope_service.grpc-client");

async function main(target, path) {
  const client = new UnitscopeServiceClient(target, credentials.createInsecure());
  const maximize = promisify(client.maximize.bind(client));
  const asked = (unit, steps) =>
    MaximizeRequest.create({
      model: "small",
      unitSelector: { oneofKind: "unit", unit },
      steps,
      options: { seed: 3n },
    });

  const { image, metrics } = await maximize(asked(2, 5));
  assert.equal(image.format, ImageFormat.PNG);
  writeFileSync(path, image.data);

  const events = [];
  const request = StreamMaximizeRequest.create({ maximize: asked(2, 5) });
  for await (const { event } of client.streamMaximize(request)) {
    events.push(event);
  }
  assert.equal(events.at(0).oneofKind, "accepted");
  assert.deepEqual(events.at(-1).result.image.data, image.data);

  await assert.rejects(maximize(asked(99, 5)), { code: status.NOT_FOUND });
  await assert.rejects(maximize(asked(2, 0)), { code: status.INVALID_ARGUMENT });

  client.close();
  console.log(JSON.stringify({ label: metrics.label, steps: metrics.steps }));
}

main(...process.argv.slice(2));
