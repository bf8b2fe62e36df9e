import type { Icon } from "@tabler/icons-react";
import type { Action } from "@/api/types";
import {
  IconActivity,
  IconHistory,
  IconKey,
  IconLink,
  IconListSearch,
  IconNetwork,
  IconSettings,
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
}

/** The menu, in order; the palette finds the same. */
export const PAGES: readonly PageEntry[] = [
  { to: "/", label: "nav.studies", icon: IconListSearch, action: "study.search" },
  { to: "/shares", label: "nav.shares", icon: IconLink, action: "study.share" },
  { to: "/deletions", label: "nav.deletions", icon: IconTrash, action: "study.delete" },
  { to: "/system", label: "nav.system", icon: IconActivity, action: "system.read" },
  { to: "/nodes", label: "nav.nodes", icon: IconNetwork, action: "nodes.read" },
  { to: "/people", label: "nav.people", icon: IconUsers, action: "people.read" },
  { to: "/roles", label: "nav.roles", icon: IconUserShield, action: "people.read" },
  { to: "/audit", label: "nav.audit", icon: IconHistory, action: "audit.read" },
  { to: "/settings", label: "nav.settings", icon: IconSettings, action: "settings.read" },
  { to: "/tokens", label: "nav.tokens", icon: IconKey },
];
