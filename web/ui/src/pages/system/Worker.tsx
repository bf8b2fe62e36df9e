import { Table } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ActorStatus, MailboxStatus, WorkerStatus } from "@/api/types";
import { bytes, duration, whole } from "@/lib/format";
import { State } from "@/ui/State";

/** One process: the tree of its actors and what waits in their mailboxes. */
export function Worker({ worker }: { worker: WorkerStatus }) {
  const { t, i18n } = useTranslation();
  const id = `worker-${worker.slot}`;
  return (
    <section className="card section" aria-labelledby={id}>
      <div className="section-head">
        <h2 id={id}>{t("system.worker", { slot: worker.slot })}</h2>
        <State state={worker.state} />
        <span className="figures faint">
          PID {worker.pid} · {t("system.uptime", { time: duration(worker.uptime_s) })} · {t("system.memory")}{" "}
          {bytes(worker.memory_bytes, i18n.language)} · {t("system.lag")} {worker.loop_lag_ms.toFixed(1)} ms
        </span>
      </div>
      <div className="halves">
        <div
          className="table-wide"
          role="region"
          aria-label={`${t("system.actors")}, ${t("system.worker", { slot: worker.slot })}`}
          tabIndex={0}
        >
          <Table className="plain tight">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("system.actor")}</Table.Th>
                <Table.Th>{t("system.state")}</Table.Th>
                <Table.Th data-numeric>{t("system.restarts")}</Table.Th>
                <Table.Th>{t("system.last_crash")}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {worker.actors.map((actor, at) => (
                <Actor key={`${at} ${actor.name}`} actor={actor} />
              ))}
            </Table.Tbody>
          </Table>
        </div>
        <div
          className="table-wide"
          role="region"
          aria-label={`${t("system.queues")}, ${t("system.worker", { slot: worker.slot })}`}
          tabIndex={0}
        >
          <Table className="plain tight">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t("system.mailbox")}</Table.Th>
                <Table.Th>{t("system.depth")}</Table.Th>
                <Table.Th data-numeric>{t("system.wait")}</Table.Th>
                <Table.Th data-numeric>{t("system.refused")}</Table.Th>
                <Table.Th data-numeric>{t("system.crashed")}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {worker.mailboxes.map((mailbox) => (
                <Mailbox key={mailbox.name} mailbox={mailbox} language={i18n.language} />
              ))}
            </Table.Tbody>
          </Table>
        </div>
      </div>
    </section>
  );
}

function Actor({ actor }: { actor: ActorStatus }) {
  return (
    <Table.Tr>
      <Table.Td style={{ paddingLeft: 12 + actor.depth * 16 }}>{actor.name}</Table.Td>
      <Table.Td>
        <State state={actor.state} />
      </Table.Td>
      <Table.Td data-numeric>{actor.restarts}</Table.Td>
      <Table.Td className="clip crash" title={actor.last_crash}>
        {actor.last_crash}
      </Table.Td>
    </Table.Tr>
  );
}

function Mailbox({ mailbox, language }: { mailbox: MailboxStatus; language: string }) {
  const share = mailbox.capacity ? mailbox.depth / mailbox.capacity : 0;
  return (
    <Table.Tr>
      <Table.Td>{mailbox.name}</Table.Td>
      <Table.Td>
        <span className="depth">
          <meter
            min={0}
            max={mailbox.capacity}
            high={mailbox.capacity * 0.8}
            value={mailbox.depth}
            aria-label={mailbox.name}
            data-full={share > 0.8 || undefined}
          />
          {whole(mailbox.depth, language)} / {whole(mailbox.capacity, language)}
        </span>
      </Table.Td>
      <Table.Td data-numeric>{Math.round(mailbox.longest_wait_ms)} ms</Table.Td>
      <Table.Td data-numeric>{whole(mailbox.refused, language)}</Table.Td>
      <Table.Td data-numeric>{whole(mailbox.crashed, language)}</Table.Td>
    </Table.Tr>
  );
}
