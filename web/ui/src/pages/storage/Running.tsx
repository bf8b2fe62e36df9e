import { useTranslation } from "react-i18next";
import type { Storage } from "@/api/types";
import { whole } from "@/lib/format";
import { When } from "@/ui/bits";
import { ListTable } from "@/ui/ListTable";
import { State } from "@/ui/State";

const MOST_PATHS = 8;
/** A slot's number is that of its node times this, and the worker. */
const SLOTS_A_NODE = 100;
const nodeOf = (slot: number) => Math.floor(slot / SLOTS_A_NODE);

/** How storage does its work: what other sites still lack, who shares it, and which steps are slow. */
export function Running({ storage: { nodes, replication, paths } }: { storage: Storage }) {
  const { t, i18n } = useTranslation();
  const silent = new Set(nodes.filter((node) => !node.alive).map(({ node }) => node));
  return (
    <>
      {replication.length > 0 && (
        <section>
          <h2 className="section-title">{t("storage.replication")}</h2>
          <ListTable
            label={t("storage.replication")}
            items={replication}
            rowKey={(lag) => `${lag.slot} ${lag.store}`}
            columns={[
              { title: t("storage.store"), cell: (lag) => <b>{lag.store}</b> },
              { title: t("storage.node"), numeric: true, cell: (lag) => nodeOf(lag.slot) },
              { title: t("storage.lacks"), numeric: true, cell: (lag) => whole(lag.waiting, i18n.language) },
              { title: t("storage.oldest"), cell: (lag) => <When at={lag.oldest} /> },
              {
                title: t("storage.state"),
                className: "wrapped",
                cell: (lag) => {
                  // What a node said before it fell silent is no news of its store.
                  const problem = lag.problem || (silent.has(nodeOf(lag.slot)) ? t("storage.silent") : "");
                  return <State state={problem ? "unusable" : "usable"} label={problem || t("storage.usable")} />;
                },
              },
              { title: t("storage.as_of"), cell: (lag) => <When at={lag.looked_at} /> },
            ]}
          />
        </section>
      )}
      {nodes.length > 1 && (
        <section>
          <h2 className="section-title">{t("storage.nodes")}</h2>
          <ListTable
            label={t("storage.nodes")}
            items={nodes}
            rowKey={(node) => node.node}
            columns={[
              { title: t("storage.node"), cell: (node) => <b>{node.node}</b> },
              {
                title: t("storage.state"),
                cell: (node) => (
                  <State
                    state={node.alive ? "usable" : "unusable"}
                    label={t(node.alive ? "storage.alive" : "storage.silent")}
                  />
                ),
              },
              { title: t("storage.seen"), cell: (node) => <When at={node.seen_at} /> },
            ]}
          />
        </section>
      )}
      {paths.length > 0 && (
        <section>
          <h2 className="section-title">{t("storage.slowest")}</h2>
          <ListTable
            label={t("storage.slowest")}
            items={paths.slice(0, MOST_PATHS)}
            rowKey={(path) => path.name}
            columns={[
              { title: t("storage.step"), className: "mono", cell: (path) => path.name },
              { title: t("storage.times"), numeric: true, cell: (path) => whole(path.count, i18n.language) },
              { title: t("storage.median"), numeric: true, cell: (path) => milliseconds(path.p50_ms, i18n.language) },
              { title: t("storage.slow"), numeric: true, cell: (path) => milliseconds(path.p99_ms, i18n.language) },
            ]}
          />
        </section>
      )}
    </>
  );
}

function milliseconds(value: number, language: string): string {
  return `${new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value)} ms`;
}
