import { Button, Checkbox, Group, Popover, ScrollArea, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { IconChevronDown } from "./icons";

interface Props {
  label: string;
  /** Chosen values, joined by commas. */
  value: string;
  choices: readonly { value: string; label: string }[];
  onChange: (filter: string) => void;
  single?: boolean;
}

/** Several of a known few; what is typed narrows the list. */
export function ChoiceFilter({ label, value, choices, onChange, single = false }: Props) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState("");
  const [open, setOpen] = useState(false);
  const chosen = value.split(",").filter(Boolean);
  const all = [
    ...choices,
    ...chosen.filter((one) => !choices.some((c) => c.value === one)).map((one) => ({ value: one, label: one })),
  ];
  const found = all.filter((choice) => choice.label.toLowerCase().includes(typed.trim().toLowerCase()));
  const toggle = (one: string) => {
    const rest = chosen.filter((other) => other !== one);
    const next = rest.length < chosen.length ? rest : single ? [one] : [...chosen, one];
    onChange(next.join(","));
    if (single) setOpen(false);
  };
  const shown = chosen.map((one) => choices.find((choice) => choice.value === one)?.label ?? one).join(", ");
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-start" shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <button
          type="button"
          className="filter-button"
          aria-label={`${label}: ${shown || t("any")}`}
          aria-haspopup="dialog"
          aria-expanded={open}
          data-set={chosen.length > 0 || undefined}
          onClick={() => {
            setTyped("");
            setOpen((was) => !was);
          }}
        >
          <span>{shown || t("any")}</span>
          <IconChevronDown size={14} aria-hidden />
        </button>
      </Popover.Target>
      <Popover.Dropdown aria-label={label}>
        {all.length > 8 && (
          <TextInput
            size="xs"
            mb="xs"
            data-autofocus
            aria-label={t("narrow_choices")}
            placeholder={t("narrow_choices")}
            value={typed}
            onChange={(event) => setTyped(event.currentTarget.value.slice(0, 32))}
            onKeyDown={(event) => {
              const only =
                found.length === 1
                  ? found[0]?.value
                  : choices.some((c) => c.label.length > 8)
                    ? undefined
                    : typed.trim().toUpperCase();
              if (event.key !== "Enter" || !only) return;
              toggle(only);
              setTyped("");
            }}
          />
        )}
        <ScrollArea.Autosize mah={260}>
          <div className="choices" data-wide={choices.some((choice) => choice.label.length > 8) || undefined}>
            {found.map((choice) => (
              <Checkbox
                key={choice.value}
                size="xs"
                label={choice.label}
                checked={chosen.includes(choice.value)}
                onChange={() => toggle(choice.value)}
              />
            ))}
          </div>
        </ScrollArea.Autosize>
        <Group justify="flex-end" mt="xs">
          <Button
            size="compact-xs"
            variant="subtle"
            color="gray"
            disabled={!chosen.length}
            onClick={() => onChange("")}
          >
            {t("clear")}
          </Button>
        </Group>
      </Popover.Dropdown>
    </Popover>
  );
}
