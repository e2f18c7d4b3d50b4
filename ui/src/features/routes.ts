import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const featureRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/features",
    component: lazyRouteComponent(() => import("./ExtractionsPage"), "ExtractionsPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/features/$id",
    component: lazyRouteComponent(() => import("./ExtractionPage"), "ExtractionPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/features/$id/$index",
    component: lazyRouteComponent(() => import("./FeaturePage"), "FeaturePage"),
  }),
] as const;
