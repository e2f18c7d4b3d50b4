export const saeRoutes = [] as const;
