import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const saeRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/saes",
    component: lazyRouteComponent(() => import("./SaesPage"), "SaesPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/saes/$id",
    component: lazyRouteComponent(() => import("./SaePage"), "SaePage"),
  }),
] as const;
