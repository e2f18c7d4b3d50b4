import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const jobRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/jobs",
    component: lazyRouteComponent(() => import("./JobsPage"), "JobsPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/jobs/$id",
    component: lazyRouteComponent(() => import("./JobPage"), "JobPage"),
  }),
] as const;
