/** Groups of modalities that people tell apart at a glance; the letters say which, the colour only helps. */
const KINDS: Readonly<Record<string, string>> = {
  CT: "ct",
  MR: "mr",
  US: "us",
  IVUS: "us",
  CR: "xr",
  DX: "xr",
  DR: "xr",
  RF: "xr",
  XA: "xr",
  MG: "mg",
  IO: "xr",
  PX: "xr",
  NM: "nm",
  PT: "nm",
};

export const MODALITIES = ["CR", "CT", "DX", "ECG", "ES", "IO", "IVUS", "KO", "MG", "MR", "NM", "OP", "OT", "PR", "PT", "PX", "RF", "RTDOSE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA"]; // prettier-ignore

export function Modalities({ of }: { of: readonly string[] }) {
  return (
    <span className="modalities" title={of.join(", ")}>
      {of.slice(0, 3).map((modality) => (
        <span key={modality} className="modality" data-kind={KINDS[modality] ?? "other"}>
          {modality}
        </span>
      ))}
      {of.length > 3 && <span className="faint">+{of.length - 3}</span>}
    </span>
  );
}
