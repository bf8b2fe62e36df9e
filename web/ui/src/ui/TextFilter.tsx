import { useEffect, useRef, useState, type Ref } from "react";
import { useTranslation } from "react-i18next";
import { IconX } from "./icons";

interface Props {
  label: string;
  value: string;
  onChange: (filter: string) => void;
  placeholder?: string;
  className?: string;
  inputRef?: Ref<HTMLInputElement>;
}

const PAUSE_MS = 300;

/** A text to search by; asks when typing pauses, at once on Enter, and is cleared by Escape. */
export function TextFilter({ label, value, onChange, placeholder, className = "filter-text", inputRef }: Props) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const say = (text: string, wait: number) => {
    clearTimeout(timer.current);
    setTyped(text);
    if (wait === 0) onChange(text);
    else timer.current = setTimeout(() => onChange(text), wait);
  };
  return (
    <span className={className} data-set={value !== "" || undefined}>
      <input
        ref={inputRef}
        type="text"
        aria-label={label}
        placeholder={placeholder ?? t("any")}
        value={typed}
        maxLength={256}
        spellCheck={false}
        autoComplete="off"
        onChange={(event) => say(event.currentTarget.value, PAUSE_MS)}
        onKeyDown={(event) => {
          if (event.key === "Enter") say(typed, 0);
          if (event.key !== "Escape") return;
          if (typed) say("", 0);
          else event.currentTarget.blur();
        }}
      />
      {typed && (
        <button type="button" aria-label={t("clear_filter", { name: label })} onClick={() => say("", 0)}>
          <IconX size={14} />
        </button>
      )}
    </span>
  );
}
