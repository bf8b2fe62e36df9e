import { useTranslation } from "react-i18next";
import { toneOf, type Tone } from "@/lib/states";
import { IconCircleCheck, IconCircleDashed, IconCircleX, IconClock } from "./icons";

const ICONS: Readonly<Record<Tone, typeof IconClock>> = {
  good: IconCircleCheck,
  busy: IconClock,
  ended: IconCircleDashed,
  bad: IconCircleX,
};

/** A state by icon and word; the colour only repeats it. */
export function State({ state, label }: { state: string; label?: string }) {
  const { t } = useTranslation();
  const tone = toneOf(state);
  const Icon = ICONS[tone];
  return (
    <span className="state" data-tone={tone}>
      <Icon size={15} aria-hidden /> {label ?? t(`system.states.${state}`, state)}
    </span>
  );
}
