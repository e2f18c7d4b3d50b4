import { DropdownMenu as Radix } from "radix-ui";
import type { ReactNode } from "react";

export interface MenuItem {
  label: string;
  icon?: ReactNode;
  onSelect: () => void;
  disabled?: boolean;
  danger?: boolean;
  /** Draw a line above. */
  apart?: boolean;
}

/** A menu on a button. Not modal: Radix's modal menus lock scrolling through a <style> tag (see Overlay). */
export function Menu({
  children,
  items,
  align = "end",
}: {
  children: ReactNode;
  items: MenuItem[];
  align?: "start" | "end";
}) {
  return (
    <Radix.Root modal={false}>
      <Radix.Trigger asChild>{children}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content
          align={align}
          sideOffset={4}
          className="z-50 min-w-44 rounded-[7px] border border-line bg-raised p-1 shadow-pop"
        >
          {items.map((item) => (
            <div key={item.label}>
              {item.apart && <Radix.Separator className="my-1 h-px bg-line" />}
              <Radix.Item
                disabled={item.disabled}
                onSelect={item.onSelect}
                className={`flex h-7 cursor-default items-center gap-2 rounded-[4px] px-2 outline-none select-none data-[disabled]:opacity-50 data-[highlighted]:bg-hover ${item.danger ? "text-failed" : ""}`}
              >
                {item.icon}
                <span className="max-w-80 truncate">{item.label}</span>
              </Radix.Item>
            </div>
          ))}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
