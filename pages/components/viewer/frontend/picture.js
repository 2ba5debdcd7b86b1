// What a saved picture shows beside the panes.

export function writeLetters(context, letters, at, ratio) {
  context.font = `700 ${14 * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = "#e8eef2";
  for (const span of Object.values(letters)) {
    const [x, y, width, height] = at(span);
    context.globalAlpha = Number(span.style.opacity);
    context.fillText(span.textContent, x + width / 2, y + height / 2);
  }
  context.globalAlpha = 1;
}

export function writeLegend(context, legend, picture, footer, ratio) {
  const width = (size) => {
    context.font = `${size}px system-ui, sans-serif`;
    return legend.reduce((sum, { text }) => sum + 2.5 * size + context.measureText(text).width, size);
  };
  let size = 12 * ratio;
  while (width(size) > picture.width && size > 6) size *= 0.9;
  const y = picture.height - footer / 2;
  let x = size;
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const { colour, text } of legend) {
    context.fillStyle = colour;
    context.fillRect(x, y - size / 2, size, size);
    context.fillStyle = "#e8eef2";
    context.fillText(text, x + 1.4 * size, y);
    x += 2.5 * size + context.measureText(text).width;
  }
}
