import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const activationRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/activations",
    component: lazyRouteComponent(() => import("./CachesPage"), "CachesPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/activations/$id",
    component: lazyRouteComponent(() => import("./CachePage"), "CachePage"),
  }),
] as const;
