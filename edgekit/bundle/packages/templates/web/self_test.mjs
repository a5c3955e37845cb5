// node self_test.mjs: the golden vectors on ONNX Runtime in Node; exit code 1 = they differ. LiteRT.js needs a browser.

import * as ort from "onnxruntime-web";

import { loadOnnxRuntime, selfTest } from "./index.js";

try {
  const rows = await selfTest(await loadOnnxRuntime({ ort }));
  for (const row of rows) {
    console.log(`${row.output}: ${row.ok ? "pass" : "FAIL"}: ${row.difference} ${row.unit}, allowed ${row.allowed}`);
  }
  process.exitCode = rows.every((row) => row.ok) ? 0 : 1;
} catch (error) {
  console.error(`FAIL: ${error.message}`);
  process.exitCode = 1;
}
