export const trainingRoutes = [] as const;
