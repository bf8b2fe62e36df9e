import { Menu, Tooltip, UnstyledButton, useMantineColorScheme, VisuallyHidden } from "@mantine/core";
import { useLocalStorage, useMediaQuery } from "@mantine/hooks";
import { Link, Navigate, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { Suspense, useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { api } from "@/api/client";
import { useSession, useSetMe } from "@/api/session";
import { isLanguage, LANGUAGES, speak, type Language } from "@/i18n";
import { IconButton, PageHead, useTell, Waiting } from "@/ui/bits";
import {
  IconCheck,
  IconKeyboard,
  IconLanguage,
  IconLayoutSidebarLeftCollapse,
  IconLayoutSidebarLeftExpand,
  IconLock,
  IconLogout,
  IconMoon,
  IconSearch,
  IconSun,
  IconUser,
} from "@/ui/icons";
import { AlertsBadge } from "./AlertsBadge";
import { ConnectionBadge } from "./ConnectionBadge";
import { Help } from "./Help";
import { useKeys } from "./keyboard";
import { openPalette, Palette } from "./Palette";
import { PAGES, type PageEntry } from "./pages";
import { PasswordDialog } from "./PasswordDialog";

export function Shell() {
  const { t, i18n } = useTranslation();
  const { may } = useSession();
  const [help, setHelp] = useState(false);
  const roomy = useMediaQuery("(min-width: 1500px)", true, { getInitialValueInEffect: false });
  const [chosen, setChosen] = useLocalStorage<"wide" | "slim" | "auto">({ key: "pacs-menu", defaultValue: "auto" });
  const wide = chosen === "auto" ? roomy : chosen === "wide";
  const here = useLocation({ select: (location) => location.pathname });
  useKeys({ "?": () => setHelp(true) });

  const title =
    PAGES.find((page) => page.to === here)?.label ?? (here.startsWith("/study/") ? "study.title" : undefined);
  useEffect(() => {
    document.title = title ? `${t(title)} · PACS` : "PACS";
  }, [title, t, i18n.language]);

  return (
    <div className="shell" data-wide={wide || undefined}>
      <a className="skip" href="#main">
        {t("skip")}
      </a>
      <header className="bar">
        <Link to="/" className="brand" aria-label="PACS">
          <img src="/icon.svg" alt="" width={26} height={26} />
          <span aria-hidden>PACS</span>
        </Link>
        <button type="button" className="find" onClick={openPalette}>
          <IconSearch size={15} aria-hidden />
          <span>{t("palette.open")}</span>
          <kbd aria-hidden>Ctrl K</kbd>
        </button>
        <div className="bar-end">
          <AlertsBadge />
          <ConnectionBadge />
          <IconButton label={t("help.title")} onClick={() => setHelp(true)}>
            <IconKeyboard size={18} />
          </IconButton>
          <LanguageMenu />
          <SchemeButton />
          <UserMenu />
        </div>
      </header>
      <nav className="rail" aria-label={t("nav.label")}>
        {PAGES.filter((page) => !page.within && (!page.action || may(page.action))).map(({ to, label, icon: Icon }) => (
          <Tooltip key={to} label={t(label)} position="right" disabled={wide} openDelay={150}>
            <Link to={to} className="rail-link" activeOptions={{ exact: to === "/", includeSearch: false }}>
              <Icon size={20} stroke={1.6} aria-hidden />
              {wide ? <span>{t(label)}</span> : <VisuallyHidden>{t(label)}</VisuallyHidden>}
            </Link>
          </Tooltip>
        ))}
        <UnstyledButton
          className="rail-link rail-toggle"
          aria-label={t(wide ? "nav.narrow" : "nav.widen")}
          onClick={() => setChosen(wide ? "slim" : "wide")}
        >
          {wide ? (
            <IconLayoutSidebarLeftCollapse size={20} stroke={1.6} />
          ) : (
            <IconLayoutSidebarLeftExpand size={20} stroke={1.6} />
          )}
        </UnstyledButton>
      </nav>
      <main id="main" className="main" tabIndex={-1}>
        <Suspense fallback={<Waiting />}>
          <Permitted here={here} />
        </Suspense>
      </main>
      <Palette onHelp={() => setHelp(true)} />
      <Help opened={help} onClose={() => setHelp(false)} />
    </div>
  );
}

/** The page, for those who may see it; who may not search studies begins with another page. */
function Permitted({ here }: { here: string }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const allowed = (page: PageEntry) => !page.action || may(page.action);
  const page = PAGES.find((one) => one.to === here);
  if (!page || allowed(page)) return <Outlet />;
  const first = PAGES.find(allowed);
  if (here === "/" && first) return <Navigate to={first.to} replace />;
  return (
    <div className="page">
      <PageHead title={t("forbidden_page")} note={t("error.forbidden")} />
    </div>
  );
}

function LanguageMenu() {
  const { t, i18n } = useTranslation();
  const setLanguage = (language: Language) => {
    void speak(language);
    // Remembered here either way; the account keeps it for other machines.
    void api.patch("/me", { language }).catch(() => undefined);
  };
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <IconButton label={t("language")}>
          <IconLanguage size={18} />
        </IconButton>
      </Menu.Target>
      <Menu.Dropdown>
        {Object.entries(LANGUAGES).map(([code, name]) => (
          <Menu.Item
            key={code}
            lang={code}
            onClick={() => isLanguage(code) && setLanguage(code)}
            rightSection={i18n.language === code ? <IconCheck size={15} /> : undefined}
          >
            {name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

export function SchemeButton() {
  const { t } = useTranslation();
  // Mantine would switch transitions off by a style element, which the page's policy forbids.
  const { colorScheme, setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  const dark = colorScheme === "dark";
  return (
    <IconButton
      label={t(dark ? "scheme.light" : "scheme.dark")}
      onClick={() => setColorScheme(dark ? "light" : "dark")}
    >
      {dark ? <IconSun size={18} /> : <IconMoon size={18} />}
    </IconButton>
  );
}

function UserMenu() {
  const { t } = useTranslation();
  const { me } = useSession();
  const setMe = useSetMe();
  const navigate = useNavigate();
  const tell = useTell();
  const [password, setPassword] = useState(false);
  const leave = async () => {
    try {
      await api.post("/logout");
    } catch (error) {
      tell.failed(error);
      return;
    }
    setMe(null);
    await navigate({ to: "/login" });
  };
  return (
    <>
      <Menu position="bottom-end" width={220}>
        <Menu.Target>
          <button
            type="button"
            className="user-button"
            aria-label={t("user_menu", { name: me.display_name || me.name })}
          >
            <IconUser size={16} aria-hidden />
            <span>{me.display_name || me.name}</span>
          </button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>{me.roles.map((role) => t(`role_names.${role}`, role)).join(", ")}</Menu.Label>
          {me.via === "session" && (
            <Menu.Item leftSection={<IconLock size={15} />} onClick={() => setPassword(true)}>
              {t("password.change")}
            </Menu.Item>
          )}
          <Menu.Item leftSection={<IconLogout size={15} />} onClick={() => void leave()}>
            {t("sign_out")}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <PasswordDialog opened={password} onClose={() => setPassword(false)} />
    </>
  );
}
