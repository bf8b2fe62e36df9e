/** Files of a drop or a file dialog, folders walked through, as [path, file]. */

const DEEPEST = 32;

/** To be called in the drop's own event: the browser takes the items away afterwards. */
export function entriesOf(items: DataTransferItemList): FileSystemEntry[] {
  return [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
}

export async function* walk(entries: readonly FileSystemEntry[], depth = 0): AsyncGenerator<[string, File]> {
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    if (entry.isFile) {
      const file = await new Promise<File | undefined>((resolve) =>
        (entry as FileSystemFileEntry).file(resolve, () => resolve(undefined)),
      );
      if (file) yield [entry.fullPath.replace(/^\//, ""), file];
    } else if (entry.isDirectory && depth < DEEPEST) {
      const reader = (entry as FileSystemDirectoryEntry).createReader();
      for (;;) {
        // A folder comes in pieces of a hundred entries.
        const some = await new Promise<FileSystemEntry[]>((resolve) => reader.readEntries(resolve, () => resolve([])));
        if (!some.length) break;
        yield* walk(some, depth + 1);
      }
    }
  }
}

export function chosen(files: FileList): [string, File][] {
  return [...files]
    .map((file): [string, File] => [file.webkitRelativePath || file.name, file])
    .filter(([path]) => !path.split("/").some((part) => part.startsWith(".")));
}
