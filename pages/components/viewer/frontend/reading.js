// What the read-out says, in words. Pure; runs in Node as well.

// The label of a voxel, and why it is another than its probabilities say: rings are closed and
// specks and faint findings removed after the network (utils/postprocess.py), and readers correct.
// `probabilities` are the stored ones of each region, outermost first; null while they load.
export function labelText(value, probabilities, segmentation) {
  const title = segmentation.labels.find((layer) => layer.members.includes(value))?.title ?? "No tumour";
  if (!probabilities) return title;
  const { regions, threshold, corrected } = segmentation;
  const given = regions.filter((region) => region.members.includes(value)).length; // regions deep
  const outside = probabilities.findIndex((p) => p < threshold);
  const seen = outside < 0 ? regions.length : outside;
  if (given === seen) return title;
  if (corrected) return `${title}: in a corrected mask`;
  if (given === 0) return `${title}: too small or faint alone`;
  return `${title}: ${given > seen ? "enclosed by the rim" : "more was too small or faint"}`;
}

export function tidy(value) {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 1 ? value.toFixed(1) : value.toPrecision(2);
}

// Millimetres with the patient's directions instead of signs: "R 12.0  P 3.5  S 40.0".
export function position(mm) {
  return mm.map((value, n) => `${(value >= 0 ? "RAS" : "LPI")[n]} ${Math.abs(value).toFixed(1)}`).join(" ");
}
