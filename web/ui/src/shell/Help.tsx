import { Kbd, Modal, Table } from "@mantine/core";
import { useTranslation } from "react-i18next";

const KEYS: readonly [string, string][] = [
  ["/", "help.search"],
  ["j  k", "help.move"],
  ["Enter", "help.enter"],
  ["o", "help.viewer"],
  ["x", "help.select"],
  ["Esc", "help.escape"],
  ["Ctrl K", "help.palette"],
  ["?", "help.help"],
];

export function Help({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const { t } = useTranslation();
  return (
    <Modal opened={opened} onClose={onClose} title={t("help.title")} closeButtonProps={{ "aria-label": t("close") }}>
      <Table>
        <Table.Tbody>
          {KEYS.map(([keys, what]) => (
            <Table.Tr key={keys}>
              <Table.Td w={110}>
                {keys.split(/ +/).map((key) => (
                  <Kbd key={key} mr={4}>
                    {key}
                  </Kbd>
                ))}
              </Table.Td>
              <Table.Td>{t(what)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Modal>
  );
}
