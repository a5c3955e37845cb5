// node demo/serve.mjs [--port 8080] [--modules node_modules]: serves this package on 127.0.0.1.
// The two headers isolate the page, without which wasm gets no threads.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".css": "text/css",
  ".wasm": "application/wasm",
};
const option = (name, fallback) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? fallback : process.argv[at + 1];
};
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const modules = resolve(option("--modules", join(root, "node_modules")));

const server = createServer(async (request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  const inside = path.startsWith(`${sep}node_modules${sep}`);
  const folder = inside ? modules : root;
  const file = join(folder, inside ? path.slice("/node_modules".length) : path.endsWith(sep) ? `${path}index.html` : path);
  const known = file.startsWith(folder + sep) && (await stat(file).catch(() => null))?.isFile();
  response.writeHead(known ? 200 : 404, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
  });
  if (known) createReadStream(file).pipe(response);
  else response.end("not here\n");
});
server.listen(Number(option("--port", "8080")), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/demo/`);
});
