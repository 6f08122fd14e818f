/** Take the files that a user chooses or drops anywhere on the page; a dropped folder gives the files in it. */
import { byId } from "./dom";

export function takeFiles(take: (files: File[]) => void): void {
  const input = byId("image-files", HTMLInputElement);
  const zone = byId("drop-zone", HTMLElement);
  input.addEventListener("change", () => {
    take([...(input.files ?? [])]);
    input.value = ""; // the same files can be chosen again
  });
  // On the whole page: a file that is dropped beside the zone would otherwise replace the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    void filesIn(event.dataTransfer).then(take);
  });
}

async function filesIn(dropped: DataTransfer | null): Promise<File[]> {
  // All entries are asked for before the first wait: the list of items is gone after the event.
  const items = [...(dropped?.items ?? [])].filter((item) => item.kind === "file");
  const found = items.map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  const lists = await Promise.all(
    found.map(({ entry, file }) => (entry?.isDirectory ? filesUnder(entry as FileSystemDirectoryEntry) : file ? [file] : [])),
  );
  return lists.flat();
}

async function filesUnder(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  for (;;) {
    // A reader gives its entries in parts, and an empty part at the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return files;
    for (const entry of entries) {
      if (entry.isDirectory) files.push(...(await filesUnder(entry as FileSystemDirectoryEntry)));
      else files.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    }
  }
}
