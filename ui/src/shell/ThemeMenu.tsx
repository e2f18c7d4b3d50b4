import { Check, CircleHelp, Monitor, Moon, Sun } from "lucide-react";
import { IconButton, Menu } from "@/kit";
import { setDensity, setTheme, useDensity, useShownTheme, useTheme } from "./preferences";

/** Theme, density and the list of keys. */
export function ThemeMenu({ onKeys }: { onKeys: () => void }) {
  const theme = useTheme();
  const density = useDensity();
  const shown = useShownTheme();
  const mark = (on: boolean, icon: React.ReactNode) => (on ? <Check size={14} /> : icon);
  return (
    <Menu
      align="start"
      items={[
        {
          label: "Light",
          icon: mark(theme === "light", <Sun size={14} />),
          onSelect: () => setTheme("light"),
        },
        { label: "Dark", icon: mark(theme === "dark", <Moon size={14} />), onSelect: () => setTheme("dark") },
        {
          label: "As the system",
          icon: mark(theme === "system", <Monitor size={14} />),
          onSelect: () => setTheme("system"),
        },
        {
          label: density === "compact" ? "Comfortable rows" : "Compact rows",
          apart: true,
          onSelect: () => setDensity(density === "compact" ? "comfortable" : "compact"),
        },
        { label: "Keys (?)", icon: <CircleHelp size={14} />, apart: true, onSelect: onKeys },
      ]}
    >
      <IconButton label="Theme, density, keys" className="ml-auto">
        {shown === "dark" ? <Moon size={15} /> : <Sun size={15} />}
      </IconButton>
    </Menu>
  );
}
