// Runs the golden vectors on every runtime of this package and shows how far each output is from the release.

import { loadLiteRt, loadOnnxRuntime, selfTest, specification } from "../index.js";

const LOADERS = { onnxruntime: loadOnnxRuntime, litert: loadLiteRt };
const TITLES = { onnxruntime: "ONNX Runtime (wasm)", litert: "LiteRT.js (wasm)" };
const digits = (value) => (Number.isNaN(value) ? "not comparable" : Number(value.toPrecision(3)).toString());

function show(cells, ok) {
  const row = document.createElement("tr");
  for (const [text, kind] of [...cells, [ok ? "pass" : "FAIL", ""]]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    cell.className = kind;
    row.append(cell);
  }
  document.getElementById("rows").append(row);
}

const result = { ok: true, runtimes: {} };
for (const [backend, spec] of Object.entries(specification.artifacts)) {
  const artifact = `${spec.target} ${spec.precision}`;
  try {
    const model = await LOADERS[backend]();
    const rows = await selfTest(model);
    await model.close();
    result.runtimes[backend] = rows;
    for (const row of rows) {
      const cells = [`${digits(row.difference)} ${row.unit}`, `${row.allowed} ${row.unit}`].map((text) => [text, "number"]);
      show([[TITLES[backend], ""], [artifact, ""], [row.output, ""], ...cells], row.ok);
      result.ok &&= row.ok;
    }
  } catch (error) {
    result.ok = false;
    result.runtimes[backend] = String(error.message ?? error);
    show([[TITLES[backend], ""], [artifact, ""], [result.runtimes[backend], ""], ["", ""], ["", ""]], false);
  }
}
const verdict = document.getElementById("verdict");
verdict.textContent = result.ok ? "pass" : "FAIL";
verdict.className = result.ok ? "pass" : "fail";
window.result = result;
