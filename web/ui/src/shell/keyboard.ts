import { useEffect, useRef } from "react";

export type Keys = Readonly<Record<string, (event: KeyboardEvent) => void>>;

/** Whether keys belong to what has the focus: a field, or a dialog above the page. */
export function keysAreTaken(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest("[role=dialog], [role=menu], [role=listbox]")) return true;
  return target.matches("input:not([type=checkbox], [type=radio], [type=button]), textarea, select");
}

/**
 * Single keys for the page, by `KeyboardEvent.key`. Never inside inputs, never with modifiers: those are the browser's. Enter
 * and Space stay with a focused control.
 */
export function useKeys(keys: Keys): void {
  const current = useRef(keys);
  useEffect(() => {
    current.current = keys;
  });
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (keysAreTaken(event.target) || document.querySelector("[role=dialog]")) return;
      const control = event.target instanceof HTMLElement && event.target.closest("a, button, [role=tab]");
      if (control && (event.key === "Enter" || event.key === " ")) return;
      const handler = Object.hasOwn(current.current, event.key) ? current.current[event.key] : undefined;
      if (!handler) return;
      event.preventDefault();
      handler(event);
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}
