import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const steeringRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/steering",
    component: lazyRouteComponent(() => import("./SteeringPage"), "SteeringPage"),
  }),
] as const;
