import type { TFunction } from "i18next";
import { Problem } from "@/api/client";

/** An error in words that say what to do; the server's own detail goes first where it has one. */
export function describe(error: unknown, t: TFunction): string {
  if (!(error instanceof Problem)) return t("error.unexpected");
  const advice =
    error.status === 0
      ? t("error.unreachable")
      : error.status === 401
        ? t("error.signed_out")
        : error.status === 403
          ? t("error.forbidden")
          : error.status === 404
            ? t("error.gone")
            : error.status === 413
              ? t("error.too_large")
              : error.status === 429
                ? t("error.too_often")
                : error.status === 507
                  ? t("error.full")
                  : error.status >= 500
                    ? t("error.server")
                    : t("error.check");
  return error.detail ? `${error.detail} ${advice}` : advice;
}
