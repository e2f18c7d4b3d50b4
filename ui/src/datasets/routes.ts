import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const datasetRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/datasets",
    component: lazyRouteComponent(() => import("./DatasetsPage"), "DatasetsPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/datasets/$id",
    component: lazyRouteComponent(() => import("./DatasetPage"), "DatasetPage"),
  }),
] as const;
