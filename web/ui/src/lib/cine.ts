import type { Instance } from "@/api/types";

export interface CineFrame {
  instance: string;
  frame: number;
}

/** The frames of a series in order, evenly thinned to at most so many: a preview of 2000 slices is still a preview. */
export function cineFrames(instances: readonly Instance[], most: number): CineFrame[] {
  const pictures = instances.filter((instance) => Number(instance.rows) > 0 && Number(instance.columns) > 0);
  const total = pictures.reduce((sum, instance) => sum + frameCount(instance), 0);
  const step = Math.max(1, total / most);
  const frames: CineFrame[] = [];
  let [passed, wanted] = [0, 0];
  for (const instance of pictures) {
    const count = frameCount(instance);
    while (wanted < passed + count && frames.length < most) {
      frames.push({ instance: instance.sop_instance_uid, frame: Math.floor(wanted - passed) + 1 });
      wanted += step;
    }
    passed += count;
  }
  return frames;
}

/** Number of Frames is absent for a single one, and a text like all integer strings (PS3.5 section 6.2). */
function frameCount(instance: Instance): number {
  return Math.max(1, Math.floor(Number(instance.number_of_frames)) || 1);
}
