/**
 * Keeps the page's own files, so that it works without a network. It never sees the user's images: they are not
 * requested from anywhere. The build replaces the two placeholders.
 */

interface LifetimeEvent extends Event {
  waitUntil(done: Promise<unknown>): void;
}

interface RequestEvent extends LifetimeEvent {
  request: Request;
  respondWith(response: Promise<Response> | Response): void;
}

interface Scope {
  addEventListener(name: "install" | "activate", handle: (event: LifetimeEvent) => void): void;
  addEventListener(name: "fetch", handle: (event: RequestEvent) => void): void;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  location: Location;
}

const scope = self as unknown as Scope;
const FILES = JSON.parse("__FILES__") as string[];
const CACHE = "cxr-kd-__VERSION__";
const MODEL = "model.onnx"; // beside the page, or not there at all

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(activate()));
scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (address.origin !== scope.location.origin) event.respondWith(Response.error()); // the page asks nobody else
  else if (request.method === "GET") {
    const changes = request.mode === "navigate" || address.pathname.endsWith(`/${MODEL}`);
    event.respondWith(changes ? newest(request) : kept(request));
  }
});

async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES);
  // The page may have no model beside it: then it works without one, offline too.
  await cache.add(MODEL).catch(() => undefined);
  await scope.skipWaiting();
}

async function activate(): Promise<void> {
  const others = (await caches.keys()).filter((name) => name.startsWith("cxr-kd-") && name !== CACHE);
  await Promise.all(others.map((name) => caches.delete(name)));
  await scope.clients.claim();
}

/** The files whose names hold a hash of their content: the stored one is right. */
async function kept(request: Request): Promise<Response> {
  return (await (await caches.open(CACHE)).match(request, { ignoreSearch: true })) ?? fetch(request);
}

/** The page and its model may change under the same name: the server's comes first, then the stored one. */
async function newest(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch {
    const stored = await cache.match(request, { ignoreSearch: true });
    return stored ?? (request.mode === "navigate" ? await cache.match("./") : undefined) ?? new Response(null, { status: 404 });
  }
}
