import type { Tag } from "@/api/types";

const plain = (text: string) => text.toLowerCase().replaceAll(/[^\p{L}\p{N}.]/gu, "");

/**
 * Tags whose number, keyword, name or value has what was typed: "0010,0020", "(0010,0020)", "patientid" and "Patient ID" all
 * find the same.
 */
export function filterTags(tags: readonly Tag[], wanted: string): Tag[] {
  const text = plain(wanted);
  if (!text) return [...tags];
  return tags.filter((tag) => [tag.tag, tag.keyword, tag.name, tag.value].some((part) => plain(part).includes(text)));
}

export function tagText(tag: Tag): string {
  return `${"  ".repeat(tag.depth)}(${tag.tag.slice(0, 4)},${tag.tag.slice(4)}) ${tag.vr} ${tag.name || tag.keyword}: ${tag.value}`;
}
