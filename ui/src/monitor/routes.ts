import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const monitorRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/monitor",
    component: lazyRouteComponent(() => import("./MonitorPage"), "MonitorPage"),
  }),
] as const;
