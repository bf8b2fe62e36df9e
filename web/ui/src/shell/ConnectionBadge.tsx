import { Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useLink } from "@/api/live";

/** Whether what is shown is kept up to date, by shape and word as well as by colour. */
export function ConnectionBadge() {
  const { t } = useTranslation();
  const link = useLink();
  return (
    <Tooltip label={t(`link.${link}_note`)}>
      {/* The tooltip's text must be reachable without a mouse, too. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <span className="link-badge" data-link={link} role="status" tabIndex={0}>
        <i aria-hidden />
        {t(`link.${link}`)}
      </span>
    </Tooltip>
  );
}
