import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const modelRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/models",
    component: lazyRouteComponent(() => import("./ModelsPage"), "ModelsPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/models/$id",
    component: lazyRouteComponent(() => import("./ModelPage"), "ModelPage"),
  }),
] as const;
