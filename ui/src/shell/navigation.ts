import {
  Activity,
  Bookmark,
  Boxes,
  Database,
  Grid3x3,
  Layers,
  type LucideIcon,
  Settings,
  SlidersHorizontal,
  Sparkles,
  TrendingDown,
} from "lucide-react";

export interface Place {
  to: string;
  label: string;
  /** Second key after g. */
  key: string;
  icon: LucideIcon;
}

/** The pages of the rail, in the order of the work. */
export const PLACES: Place[] = [
  { to: "/datasets", label: "Data sets", key: "d", icon: Database },
  { to: "/models", label: "Models", key: "m", icon: Boxes },
  { to: "/activations", label: "Activations", key: "a", icon: Layers },
  { to: "/trainings", label: "Training", key: "t", icon: TrendingDown },
  { to: "/saes", label: "SAEs", key: "s", icon: Grid3x3 },
  { to: "/features", label: "Features", key: "f", icon: Sparkles },
  { to: "/steering", label: "Steering", key: "x", icon: SlidersHorizontal },
  { to: "/templates", label: "Templates", key: "p", icon: Bookmark },
  { to: "/monitor", label: "Monitor", key: "o", icon: Activity },
  { to: "/settings", label: "Settings", key: ",", icon: Settings },
];
