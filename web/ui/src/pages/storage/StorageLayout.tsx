import { Link, Outlet } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { PageHead } from "@/ui/bits";

const PAGES = [
  ["/storage", "overview"],
  ["/storage/policies", "policies"],
  ["/storage/moves", "moves"],
  ["/storage/integrity", "integrity"],
  ["/storage/backups", "backups"],
] as const;

/** What the pages about storage have in common: a heading, and the way from one to the next. */
export function StorageLayout() {
  const { t } = useTranslation();
  return (
    <div className="page">
      <PageHead title={t("nav.storage")} note={t("storage.note")} />
      <nav className="tabs" aria-label={t("nav.storage")}>
        {PAGES.map(([to, name]) => (
          <Link key={to} to={to as string} activeOptions={{ exact: true }}>
            {t(`storage.${name}`)}
          </Link>
        ))}
      </nav>
      <Outlet />
    </div>
  );
}
