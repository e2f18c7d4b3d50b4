import { createRoute, createRouter, redirect } from "@tanstack/react-router";
import { activationRoutes } from "./activations/routes";
import { datasetRoutes } from "./datasets/routes";
import { featureRoutes } from "./features/routes";
import { jobRoutes } from "./jobs/routes";
import { modelRoutes } from "./models/routes";
import { monitorRoutes } from "./monitor/routes";
import { rootRoute } from "./root";
import { saeRoutes } from "./saes/routes";
import { settingsRoutes } from "./settings/routes";
import { PageError, PagePending } from "./shell/NotFound";
import { steeringRoutes } from "./steering/routes";
import { templateRoutes } from "./templates/routes";
import { trainingRoutes } from "./training/routes";

const startRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/datasets", replace: true });
  },
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([
    startRoute,
    ...datasetRoutes,
    ...modelRoutes,
    ...activationRoutes,
    ...trainingRoutes,
    ...saeRoutes,
    ...featureRoutes,
    ...steeringRoutes,
    ...templateRoutes,
    ...jobRoutes,
    ...monitorRoutes,
    ...settingsRoutes,
  ]),
  defaultPreload: "intent",
  defaultPendingComponent: PagePending,
  defaultErrorComponent: PageError,
  scrollRestoration: false,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
