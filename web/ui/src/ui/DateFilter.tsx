import { Button, Group, Popover, Stack, TextInput } from "@mantine/core";
import { DatePicker } from "@mantine/dates";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { calendarLocale } from "@/i18n";
import { fromDicom, isPreset, parseRange, PRESETS, rangeFilter, toDicom } from "@/lib/dates";
import { day } from "@/lib/format";
import { IconCalendar } from "./icons";

const toCalendar = (date: Date | undefined) =>
  date ? toDicom(date).replace(/^(\d{4})(\d{2})(\d{2})$/, "$1-$2-$3") : null;
const fromCalendar = (text: string | null) => (text ? fromDicom(text.slice(0, 10).replaceAll("-", "")) : undefined);

interface Props {
  label: string;
  value: string;
  onChange: (filter: string) => void;
  presets?: boolean;
  /** What stands there while nothing is chosen. */
  placeholder?: string;
}

/** A period: one of the usual ones, a day, or from one day to another. */
export function DateFilter({ label, value, onChange, presets = true, placeholder }: Props) {
  const { t, i18n } = useTranslation();
  const [open, setOpen] = useState(false);
  const [half, setHalf] = useState<Date | undefined>();
  const [from, to] = half ? [half, undefined] : parseRange(value);
  const shown = isPreset(value)
    ? t(`preset.${value}`)
    : value
      ? [day(from, i18n.language), day(to, i18n.language)]
          .filter((text, at, all) => at === 0 || text !== all[0])
          .join(" – ")
      : "";
  const choose = (filter: string) => {
    setHalf(undefined);
    onChange(filter);
    setOpen(false);
  };
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-start" shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <button
          type="button"
          className="filter-button"
          aria-label={`${label}: ${shown || t("any")}`}
          aria-haspopup="dialog"
          aria-expanded={open}
          data-set={value !== "" || undefined}
          onClick={() => setOpen((was) => !was)}
        >
          <span>{shown || (placeholder ?? t("any"))}</span>
          <IconCalendar size={14} aria-hidden />
        </button>
      </Popover.Target>
      <Popover.Dropdown aria-label={label}>
        <Group align="flex-start" gap="md" wrap="nowrap">
          {presets && (
            <Stack gap={4} miw={130}>
              {PRESETS.map((preset) => (
                <Button
                  key={preset}
                  size="xs"
                  justify="flex-start"
                  variant={value === preset ? "light" : "subtle"}
                  color={value === preset ? undefined : "gray"}
                  onClick={() => choose(preset)}
                >
                  {t(`preset.${preset}`)}
                </Button>
              ))}
              <Button size="xs" justify="flex-start" variant="subtle" color="gray" onClick={() => choose("")}>
                {t("preset.any")}
              </Button>
            </Stack>
          )}
          <Stack gap="xs">
            <DatePicker
              type="range"
              size="xs"
              allowSingleDateInRange
              locale={calendarLocale(i18n.language)}
              value={[toCalendar(from), toCalendar(to)]}
              defaultDate={toCalendar(from) ?? undefined}
              ariaLabels={{
                nextMonth: t("calendar.next"),
                previousMonth: t("calendar.previous"),
                monthLevelControl: t("calendar.month"),
                yearLevelControl: t("calendar.year"),
              }}
              onChange={([first, last]) => {
                if (first && !last) setHalf(fromCalendar(first));
                else choose(rangeFilter(fromCalendar(first), fromCalendar(last)));
              }}
            />
            <TextInput
              size="xs"
              label={t("calendar.typed")}
              placeholder="20260101-20261231"
              defaultValue={isPreset(value) ? "" : value}
              onKeyDown={(event) => {
                if (event.key !== "Enter") return;
                const typed = event.currentTarget.value.replaceAll(/[\s./]/g, "");
                if (/^(\d{8})?-?(\d{8})?$/.test(typed)) choose(typed === "-" ? "" : typed);
              }}
            />
          </Stack>
        </Group>
      </Popover.Dropdown>
    </Popover>
  );
}
