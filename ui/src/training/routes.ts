import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const trainingRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/trainings",
    component: lazyRouteComponent(() => import("./TrainingsPage"), "TrainingsPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/trainings/new",
    component: lazyRouteComponent(() => import("./NewTraining"), "NewTraining"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/trainings/compare",
    component: lazyRouteComponent(() => import("./ComparePage"), "ComparePage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/trainings/$id",
    component: lazyRouteComponent(() => import("./RunPage"), "RunPage"),
  }),
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/sweeps/$id",
    component: lazyRouteComponent(() => import("./SweepPage"), "SweepPage"),
  }),
] as const;
