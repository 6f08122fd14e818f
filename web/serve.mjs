/**
 * Serve web/dist on this computer only: `node serve.mjs [FOLDER] [PORT]`.
 *
 * The two Cross-Origin headers let the page use threads. The Content-Security-Policy is also sent as a header, because
 * workers do not inherit the one in the page.
 */
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".wasm": "application/wasm",
};
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

/** Return a running server of a folder; port 0 takes a free one. `isolated`: send the headers that allow threads. */
export function serve(folder, port, isolated = true) {
  const root = normalize(folder);
  const policy = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(readFileSync(join(root, "index.html"), "utf8"))?.[1];
  const server = createServer((request, response) => {
    const path = fileIn(root, request.url ?? "/");
    const headers = {
      "Content-Type": TYPES[extname(path ?? "")] ?? "application/octet-stream",
      "Cache-Control": "no-cache",
      "X-Content-Type-Options": "nosniff",
      "Content-Security-Policy": policy ?? "",
      ...(isolated ? ISOLATED : {}),
    };
    if (path === null) {
      response.writeHead(404, { ...headers, "Content-Type": "text/plain" }).end("there is no such file\n");
      return;
    }
    response.writeHead(200, { ...headers, "Content-Length": statSync(path).size });
    if (request.method === "HEAD") response.end();
    else createReadStream(path).pipe(response);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "localhost", () => resolve(server));
  });
}

function fileIn(root, address) {
  try {
    const name = decodeURIComponent(new URL(address, "http://localhost").pathname);
    const path = normalize(join(root, name.endsWith("/") ? `${name}index.html` : name));
    return path.startsWith(root + sep) && statSync(path).isFile() ? path : null;
  } catch {
    return null;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2] ?? fileURLToPath(new URL("dist", import.meta.url));
  try {
    const server = await serve(folder, Number(process.argv[3] ?? process.env.PORT ?? 8080));
    console.log(`Open http://localhost:${server.address().port}/ in a browser. Ctrl+C ends the server.`);
  } catch (error) {
    const told = {
      EADDRINUSE: "the port is in use. Name another one: PORT=8081",
      ENOENT: "the page is not built. Build it first: npm run build",
    };
    console.error(`${folder} cannot be served: ${told[error.code] ?? error.message}`);
    process.exitCode = 1;
  }
}
