import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Outlet } from "@tanstack/react-router";
import { doorOf, ourPath } from "./lib/paths";
import { parseSearch, formatSearch, type StudySearch } from "./lib/search";
import { Crashed, Lost } from "./shell/Crashed";
import { SignedIn } from "./shell/SignedIn";
import { StudiesPage } from "./pages/studies/StudiesPage";
import { LoginPage } from "./pages/LoginPage";

/** Addresses stay readable: plain text parameters, no JSON. */
function parseQuery(text: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(text));
}

function formatQuery(query: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (typeof value === "string" && value) parameters.set(name, value);
  const text = parameters.toString();
  return text ? `?${text}` : "";
}

const texts =
  (...names: string[]) =>
  (query: Record<string, unknown>): Record<string, string | undefined> =>
    Object.fromEntries(names.map((name) => [name, typeof query[name] === "string" ? query[name] : undefined]));

const root = createRootRoute({ component: Outlet, notFoundComponent: Lost, errorComponent: Crashed });

export const loginRoute = createRoute({
  getParentRoute: () => root,
  path: "/login",
  component: LoginPage,
  validateSearch: (query: Record<string, unknown>): { next?: string } => ({
    next: typeof query["next"] === "string" ? ourPath(query["next"], "/") : undefined,
  }),
});

const inside = createRoute({ getParentRoute: () => root, id: "inside", component: SignedIn });

export const studiesRoute = createRoute({
  getParentRoute: () => inside,
  path: "/",
  component: StudiesPage,
  validateSearch: (query: Record<string, unknown>): Record<string, string> => formatSearch(parseSearch(query)),
});

export const studyRoute = createRoute({
  getParentRoute: () => inside,
  path: "/study/$study",
  component: lazyRouteComponent(() => import("./pages/study/StudyPage"), "StudyPage"),
  validateSearch: (query: Record<string, unknown>): { tab?: string; series?: string; instance?: string } =>
    texts("tab", "series", "instance")(query),
});

export const recallRoute = createRoute({
  getParentRoute: () => inside,
  path: "/recall/$study",
  component: lazyRouteComponent(() => import("./pages/study/RecallPage"), "RecallPage"),
  validateSearch: (query: Record<string, unknown>): { series?: string } => texts("series")(query),
});

const page = (path: string, load: Parameters<typeof lazyRouteComponent>[0], name: string) =>
  createRoute({ getParentRoute: () => inside, path, component: lazyRouteComponent(load, name) });

const systemRoute = page("/system", () => import("./pages/system/SystemPage"), "SystemPage");
const storageRoute = page("/storage", () => import("./pages/storage/StorageLayout"), "StorageLayout");
const storagePage = (path: string, load: Parameters<typeof lazyRouteComponent>[0], name: string) =>
  createRoute({ getParentRoute: () => storageRoute, path, component: lazyRouteComponent(load, name) });
const storageRoutes = [
  storagePage("/", () => import("./pages/storage/OverviewPage"), "OverviewPage"),
  storagePage("/policies", () => import("./pages/storage/PoliciesPage"), "PoliciesPage"),
  storagePage("/moves", () => import("./pages/storage/MovesPage"), "MovesPage"),
  storagePage("/integrity", () => import("./pages/storage/IntegrityPage"), "IntegrityPage"),
  storagePage("/backups", () => import("./pages/storage/BackupsPage"), "BackupsPage"),
];
const nodesRoute = page("/nodes", () => import("./pages/NodesPage"), "NodesPage");
const settingsRoute = page("/settings", () => import("./pages/SettingsPage"), "SettingsPage");
const tokensRoute = page("/tokens", () => import("./pages/TokensPage"), "TokensPage");
const sharesRoute = page("/shares", () => import("./pages/SharesPage"), "SharesPage");
const deletionsRoute = page("/deletions", () => import("./pages/DeletionsPage"), "DeletionsPage");
const peopleRoute = page("/people", () => import("./pages/people/UsersPage"), "UsersPage");
const rolesRoute = page("/roles", () => import("./pages/people/RolesPage"), "RolesPage");
export const auditRoute = createRoute({
  getParentRoute: () => inside,
  path: "/audit",
  component: lazyRouteComponent(() => import("./pages/AuditPage"), "AuditPage"),
  validateSearch: texts("q", "period", "event", "outcome", "who", "address", "patient_id", "uid", "sort"),
});

const door = doorOf(new URL(location.href));
if (door) history.replaceState(null, "", door);

export const router = createRouter({
  routeTree: root.addChildren([
    loginRoute,
    inside.addChildren([
      studiesRoute,
      studyRoute,
      recallRoute,
      storageRoute.addChildren(storageRoutes),
      systemRoute,
      nodesRoute,
      settingsRoute,
      tokensRoute,
      sharesRoute,
      deletionsRoute,
      peopleRoute,
      rolesRoute,
      auditRoute,
    ]),
  ]),
  parseSearch: parseQuery,
  stringifySearch: formatQuery,
  defaultPreload: "intent",
});

export type { StudySearch };

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
