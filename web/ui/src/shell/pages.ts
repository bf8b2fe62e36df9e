import type { Icon } from "@tabler/icons-react";
import type { Action } from "@/api/types";
import {
  IconActivity,
  IconArchive,
  IconArrowRight,
  IconDatabase,
  IconFilter,
  IconHistory,
  IconKey,
  IconLink,
  IconListSearch,
  IconNetwork,
  IconSettings,
  IconShieldCheck,
  IconTrash,
  IconUsers,
  IconUserShield,
} from "@/ui/icons";

export interface PageEntry {
  to: string;
  label: string;
  icon: Icon;
  /** Who finds the page in the menu; undefined: everybody. */
  action?: Action;
  /** A page of another one: the palette finds it, the menu has that one. */
  within?: string;
}

/** The menu, in order; the palette finds the same and what is within. */
export const PAGES: readonly PageEntry[] = [
  { to: "/", label: "nav.studies", icon: IconListSearch, action: "study.search" },
  { to: "/shares", label: "nav.shares", icon: IconLink, action: "study.share" },
  { to: "/deletions", label: "nav.deletions", icon: IconTrash, action: "study.delete" },
  { to: "/storage", label: "nav.storage", icon: IconDatabase, action: "system.read" },
  { to: "/storage/policies", label: "nav.policies", icon: IconFilter, action: "system.read", within: "/storage" },
  { to: "/storage/moves", label: "nav.moves", icon: IconArrowRight, action: "system.read", within: "/storage" },
  {
    to: "/storage/integrity",
    label: "nav.integrity",
    icon: IconShieldCheck,
    action: "system.read",
    within: "/storage",
  },
  { to: "/storage/backups", label: "nav.backups", icon: IconArchive, action: "system.read", within: "/storage" },
  { to: "/system", label: "nav.system", icon: IconActivity, action: "system.read" },
  { to: "/nodes", label: "nav.nodes", icon: IconNetwork, action: "nodes.read" },
  { to: "/people", label: "nav.people", icon: IconUsers, action: "people.read" },
  { to: "/roles", label: "nav.roles", icon: IconUserShield, action: "people.read" },
  { to: "/audit", label: "nav.audit", icon: IconHistory, action: "audit.read" },
  { to: "/settings", label: "nav.settings", icon: IconSettings, action: "settings.read" },
  { to: "/tokens", label: "nav.tokens", icon: IconKey },
];
