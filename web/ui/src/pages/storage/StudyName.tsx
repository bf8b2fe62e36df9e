import { Link } from "@tanstack/react-router";
import { useStudy } from "@/api/storage";
import { PersonName } from "@/ui/bits";

/** A study by its patient for those who may see it, for others by its UID. */
export function StudyName({ study }: { study: string }) {
  const known = useStudy(study).data;
  return (
    <Link
      className="study-name"
      to="/study/$study"
      params={{ study }}
      search={{ tab: "storage" }}
      preload={false}
      title={study}
    >
      {known ? (
        <PersonName value={known.patient_name || known.patient_id} />
      ) : (
        <span className="mono clip">{study}</span>
      )}
    </Link>
  );
}
