/** The node out of what the live topics say of it. Pure. */

import type { AssociationStatus, MailboxStatus, NodeStatus, WorkerStatus } from "@/api/types";

interface System extends Omit<NodeStatus, "workers"> {
  workers: Record<string, Omit<WorkerStatus, "associations" | "mailboxes">>;
}

interface Associations {
  associations: Record<string, AssociationStatus & { slot: number }>;
}

interface Queues {
  mailboxes: Record<string, Record<string, MailboxStatus>>;
}

/** Undefined as long as nothing is said of the node itself. */
export function nodeOf(system: unknown, associations: unknown, queues: unknown): NodeStatus | undefined {
  const node = system as System | undefined;
  if (!node?.workers) return undefined;
  const open = Object.values((associations as Associations | undefined)?.associations ?? {});
  const mailboxes = (queues as Queues | undefined)?.mailboxes ?? {};
  const workers = Object.entries(node.workers).map(([slot, worker]) => ({
    ...worker,
    associations: open.filter((one) => one.slot === worker.slot),
    mailboxes: Object.values(mailboxes[slot] ?? {}),
  }));
  return { ...node, workers: workers.sort((one, other) => one.slot - other.slot) };
}
