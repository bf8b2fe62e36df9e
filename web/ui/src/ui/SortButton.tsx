import type { Way } from "@/lib/search";
import { IconArrowsSort, IconSortAscending, IconSortDescending } from "./icons";

/** A column's title by which its list is sorted. Its cell says `aria-sort`. */
export function SortButton({ label, way, onClick }: { label: string; way: Way | undefined; onClick: () => void }) {
  const Icon = way ? (way === "descending" ? IconSortDescending : IconSortAscending) : IconArrowsSort;
  return (
    <button type="button" className="sort" onClick={onClick}>
      <span>{label}</span>
      <Icon size={14} aria-hidden data-on={way ? true : undefined} />
    </button>
  );
}
