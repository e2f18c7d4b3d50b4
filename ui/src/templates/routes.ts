import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { rootRoute } from "../root";

export const templateRoutes = [
  createRoute({
    getParentRoute: () => rootRoute,
    path: "/templates",
    component: lazyRouteComponent(() => import("./TemplatesPage"), "TemplatesPage"),
  }),
] as const;
