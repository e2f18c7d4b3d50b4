export const steeringRoutes = [] as const;
