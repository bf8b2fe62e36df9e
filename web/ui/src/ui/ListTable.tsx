import { Table } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";

export interface ListColumn<T> {
  title: string;
  cell: (item: T) => ReactNode;
  numeric?: boolean;
  className?: string;
}

interface Props<T> {
  label: string;
  items: readonly T[];
  columns: readonly ListColumn<T>[];
  rowKey: (item: T) => string | number;
  actions?: (item: T) => ReactNode;
}

/** A table of a short list, in a card that scrolls sideways where the screen is narrow. */
export function ListTable<T>({ label, items, columns, rowKey, actions }: Props<T>) {
  const { t } = useTranslation();
  return (
    <div className="card table-card table-wide" role="region" aria-label={label} tabIndex={0}>
      <Table className="plain">
        <Table.Thead>
          <Table.Tr>
            {columns.map(({ title, numeric }) => (
              <Table.Th key={title} data-numeric={numeric || undefined}>
                {title}
              </Table.Th>
            ))}
            {actions && (
              <Table.Th>
                <span className="hidden-title">{t("actions")}</span>
              </Table.Th>
            )}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {items.map((item) => (
            <Table.Tr key={rowKey(item)}>
              {columns.map(({ title, cell, numeric, className }) => (
                <Table.Td key={title} data-numeric={numeric || undefined} className={className}>
                  {cell(item)}
                </Table.Td>
              ))}
              {actions && <Table.Td className="row-actions">{actions(item)}</Table.Td>}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
