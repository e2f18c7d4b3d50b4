import { useEffect, useState } from "react";

/** A value once it has stayed the same for a moment: what is asked of the server while one types. */
export function useSettled<T>(value: T, milliseconds = 250): T {
  const text = JSON.stringify(value);
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), milliseconds);
    return () => clearTimeout(timer);
  }, [text, milliseconds]);
  return JSON.parse(settled) as T;
}
