export const featureRoutes = [] as const;
