import { createRootRoute } from "@tanstack/react-router";
import { NotFound } from "./shell/NotFound";
import { Shell } from "./shell/Shell";

/** The frame that every page's route has as its parent. */
export const rootRoute = createRootRoute({ component: Shell, notFoundComponent: NotFound });
